"""Dump and restore databases: PostgreSQL with its own tools, sqlite through its back-up API."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from cracks.system.atomic_files import atomic_replace
from infra.backup.manifest import BackupRefused

if TYPE_CHECKING:
    from sqlalchemy import URL

#: Where MLflow keeps the places of artifacts as whole URIs (mlflow.store.*.dbmodels).
ARTIFACT_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)

#: Seconds until a PostgreSQL that does not answer is given up.
CONNECT_TIMEOUT = "10"


class Database(ABC):
    """One database; all methods raise BackupRefused."""

    kind: Literal["postgresql", "sqlite"]

    def __init__(self, url: URL) -> None:
        self._url = url

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where it is, without a password."""

    @abstractmethod
    def tools(self) -> dict[str, str]:
        """Return the versions of what dumps it."""

    @abstractmethod
    def dump(self, target: Path) -> None:
        """Write its state at one moment, whoever else writes to it meanwhile."""

    @abstractmethod
    def tables(self) -> list[str]:
        """Return the tables that are there; none where a restore may begin."""

    @abstractmethod
    def restore(self, dump: Path, moved: tuple[str, str] | None) -> None:
        """Bring a dump back.

        Args:
            dump: as `dump` writes it.
            moved: of MLflow, the URIs below which its artifacts lay, and now lie.
        """

    def _move_artifacts(self, old: str, new: str) -> None:
        from sqlalchemy import create_engine, inspect, text

        engine = create_engine(self._url)
        columns = {
            (table, column["name"])
            for table in set(inspect(engine).get_table_names())
            for column in inspect(engine).get_columns(table)
        }
        with engine.begin() as connection:
            for table, column in ARTIFACT_COLUMNS:
                if (table, column) in columns:
                    moved = text(
                        f"UPDATE {table} SET {column} = :new || substr({column}, :length) "
                        f"WHERE {column} = :old OR substr({column}, 1, :length) = :folder"
                    )
                    values = {"new": new, "old": old, "folder": f"{old}/", "length": len(old) + 1}
                    connection.execute(moved, values)
        engine.dispose()


class Sqlite(Database):
    """A database in a file."""

    kind = "sqlite"

    @property
    def _file(self) -> Path:
        return Path(self._url.database or "")

    @property
    @override
    def origin(self) -> str:
        return f"sqlite:///{self._file}"

    @override
    def tools(self) -> dict[str, str]:
        return {"sqlite": sqlite3.sqlite_version}

    @override
    def dump(self, target: Path) -> None:
        if not self._file.is_file():
            raise BackupRefused(
                f"There is no database {self._file}. Name another one with "
                "CRACKS_BACKUP_DATABASE_MLFLOW, or train first: there is nothing to back up."
            )
        try:
            with (
                closing(sqlite3.connect(f"{self._file.as_uri()}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(target)) as copy,
            ):
                source.backup(copy)
                (found,) = copy.execute("PRAGMA integrity_check").fetchone()
        except sqlite3.Error as error:
            raise BackupRefused(f"{self._file} cannot be read: {error}.") from None
        if found != "ok":
            raise BackupRefused(f"{self._file} is damaged ({found}); it was not backed up.")

    @override
    def tables(self) -> list[str]:
        return [str(self._file)] if self._file.exists() else []

    @override
    def restore(self, dump: Path, moved: tuple[str, str] | None) -> None:
        from sqlalchemy import make_url

        with atomic_replace(self._file) as partial:
            shutil.copyfile(dump, partial)
            if moved:  # before anybody sees it
                Sqlite(make_url(f"sqlite:///{partial}"))._move_artifacts(*moved)


class PostgreSql(Database):
    """A database of a PostgreSQL server."""

    kind = "postgresql"

    @property
    @override
    def origin(self) -> str:
        return self._url.set(drivername="postgresql").render_as_string(hide_password=True)

    @override
    def tools(self) -> dict[str, str]:
        # As `pg_dump (PostgreSQL) 15.18 (Debian …)`.
        return {"pg_dump": self._run("pg_dump", "--version").split()[2]}

    @override
    def dump(self, target: Path) -> None:
        self._run("pg_dump", "--format=custom", "--no-password", "--file", str(target))
        self._run("pg_restore", "--list", str(target))

    @override
    def tables(self) -> list[str]:
        asked = (
            "SELECT schemaname || '.' || tablename FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        )
        said = self._run("psql", "--no-psqlrc", "--no-password", "-At", "-c", asked)
        return said.split()

    @override
    def restore(self, dump: Path, moved: tuple[str, str] | None) -> None:
        # Owner and rights are those of the user that restores: elsewhere it may have another name.
        how = ["--no-owner", "--no-privileges", "--no-comments", "--no-password"]
        how += ["--exit-on-error", "--single-transaction"]
        self._run("pg_restore", *how, "--dbname", self._url.database or "", str(dump))
        if moved:
            self._move_artifacts(*moved)

    def _run(self, tool: str, *arguments: str) -> str:
        """Run a tool of PostgreSQL; the password is in its environment, which others cannot see."""
        try:
            done = subprocess.run(
                [tool, *arguments],
                env={**os.environ, **self._variables},
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            raise BackupRefused(f"{tool} is absent. Install postgresql-client.") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise BackupRefused(f"{self.origin}: {lines[0]}. Is the server up, and is it its user?")
        return done.stdout

    @property
    def _variables(self) -> dict[str, str]:
        url = self._url
        given = {
            "PGHOST": url.host,
            "PGPORT": str(url.port) if url.port else None,
            "PGUSER": url.username,
            "PGPASSWORD": url.password,
            "PGDATABASE": url.database,
        }
        settings = {f"PG{key.upper()}": str(value) for key, value in url.query.items()}
        known = {name: str(value) for name, value in given.items() if value}
        return {"PGCONNECT_TIMEOUT": CONNECT_TIMEOUT, **settings, **known, "LC_ALL": "C"}


def database_at(text: str) -> Database:
    """Return the database of an address as SQLAlchemy writes it, whatever driver that names.

    Raises:
        BackupRefused: it is no address of a PostgreSQL or sqlite database.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except ArgumentError:
        raise BackupRefused(
            "An address of a database cannot be read. Write postgresql://USER:PASSWORD@HOST:PORT/"
            "NAME, or sqlite:////PATH."
        ) from None
    kind = url.get_backend_name()
    if kind == "sqlite" and url.database:
        return Sqlite(url.set(drivername="sqlite"))
    if kind == "postgresql" and url.database:
        return PostgreSql(url.set(drivername="postgresql+psycopg2"))
    raise BackupRefused(f"{url!r}: only PostgreSQL and sqlite databases are backed up.")
