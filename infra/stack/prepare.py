"""`python -m infra.stack.prepare STEP`: what stands between two services.

Done twice, it is as done once. Everything is read from the environment, so that it does the same
here and in a container.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from cracks.errors import CracksError
from infra.stack.settings import ADMIN, DATABASES, StackError

#: What MLflow keeps of runs, DVC of data and models, and the service of its predictions.
BUCKETS = ("mlflow", "dvc", "answers")

#: Extensions that a database needs; only the superuser may add them.
EXTENSIONS = {"prefect": ("pg_trgm",)}


# --- databases ------------------------------------------------------------------------------------


def databases() -> None:
    """Create each database and its owner where they are missing, and set the owner's password.

    Raises:
        StackError: PostgreSQL refuses.
    """
    import psycopg2

    try:
        for name in DATABASES:
            _create_database(name, os.environ[f"{name.upper()}_DB_PASSWORD"])
            for extension in EXTENSIONS.get(name, ()):
                _execute(name, f"CREATE EXTENSION IF NOT EXISTS {extension}")
    except psycopg2.Error as error:
        reason = str(error).strip().splitlines()[-1]
        raise StackError(f"PostgreSQL refuses: {reason}. Are secrets.env and it a pair?") from None


def _create_database(name: str, password: str) -> None:
    if not _execute("postgres", "SELECT 1 FROM pg_roles WHERE rolname = %s", name):
        _execute("postgres", f"CREATE ROLE {name} LOGIN")
    _execute("postgres", f"ALTER ROLE {name} PASSWORD %s", password)
    if not _execute("postgres", "SELECT 1 FROM pg_database WHERE datname = %s", name):
        _execute("postgres", f"CREATE DATABASE {name} OWNER {name}")
        # Otherwise anybody who has a password for one database may look into the other.
        _execute("postgres", f"REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC")


def _execute(database: str, statement: str, *values: str) -> list[Any]:
    import psycopg2

    # The rest of what libpq needs stands in the environment.
    connection = psycopg2.connect(dbname=database)
    connection.autocommit = True  # no database is created within a transaction
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


# --- buckets --------------------------------------------------------------------------------------


def buckets() -> None:
    """Create the buckets that are missing.

    Raises:
        StorageError: the storage refuses; StorageUnavailable: it does not answer.
    """
    from cracks.storage.client import ensure_bucket

    for name in BUCKETS:
        ensure_bucket(name, os.environ["AWS_ENDPOINT_URL"])


# --- keys -----------------------------------------------------------------------------------------


def keys() -> None:
    """Let the service know the digest of the key that clients of the stack have.

    Raises:
        ServiceError: the file of the digests is damaged.
    """
    from serving.middleware.api_keys import keep_key
    from serving.settings import settings_of

    file = settings_of(Path(os.environ["CRACKS_SERVICE_DIR"])).keys
    keep_key(file, ADMIN, os.environ["CRACKS_SERVICE_KEY"])


# --------------------------------------------------------------------------------------------------

STEPS = {"databases": databases, "buckets": buckets, "keys": keys}


def main(names: list[str]) -> int:
    """Do the named steps; return 0 when they are done."""
    try:
        for name in names:
            STEPS[name]()
    except CracksError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
