"""The cluster of PostgreSQL: made on first use, owned by the user that runs it."""

from __future__ import annotations

import shutil

from cracks.system.atomic_files import atomic_replace, remove
from infra.stack.local import as_postgres, run
from infra.stack.services import Service
from infra.stack.settings import Stack, StackError, postgresql_program


def create_databases(stack: Stack, postgresql: Service) -> None:
    """Make the cluster of PostgreSQL where there is none.

    Raises:
        StackError: initdb refuses, or something else lies in its place.
    """
    if (stack.databases / "PG_VERSION").is_file():
        return
    if stack.databases.is_dir() and any(stack.databases.iterdir()):
        raise StackError(
            f"{stack.databases} is no cluster of PostgreSQL (it has no PG_VERSION). Bring it back "
            "from a back-up, or move it away to begin again."
        )
    password = stack.databases.with_name(".postgresql.password.partial")
    try:
        with atomic_replace(stack.databases) as partial:
            partial.mkdir(mode=0o700)
            password.touch(mode=0o600)
            password.write_text(postgresql.environment["POSTGRES_PASSWORD"], encoding="utf-8")
            if as_postgres():
                for path in (partial, password):
                    shutil.chown(path, "postgres", "postgres")
            options = ["-D", str(partial), "-U", "postgres", "--pwfile", str(password)]
            options += postgresql.environment["POSTGRES_INITDB_ARGS"].split()
            command = [*as_postgres(), postgresql_program("initdb"), *options]
            run(command, cwd=partial, what="initdb")
    finally:
        remove(password)
