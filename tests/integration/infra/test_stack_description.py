"""What other programs say of the stack's files: the schema of compose, and a shell."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from infra.stack.services import FILE
from infra.stack.settings import (
    Stack,
    postgresql_program,
    read_env,
    write_env,
)


def test_it_is_valid_by_the_schema_of_compose() -> None:
    # The schema comes with the package: nothing is fetched.
    checker = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [checker, "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def test_a_shell_reads_what_is_written(stack: Stack) -> None:
    values = {
        "PLAIN": "a-b_c",
        "SPACED": "two words",
        "SIGNS": '"key,secret"',
        "ODD": "it's $HOME;`x`",
    }
    write_env(stack.client, values, "for a shell")
    assert read_env(stack.client) == values
    assert stat.S_IMODE(stack.client.stat().st_mode) == 0o600
    show = f'set -a; . {stack.client}; printf \'%s\\n\' "$PLAIN" "$SPACED" "$SIGNS" "$ODD"'
    shown = subprocess.run(["sh", "-c", show], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == list(values.values())


def test_postgresql_is_found_where_only_its_server_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not installed:
        pytest.skip("no PostgreSQL from Debian's packages")
    refusing = tmp_path / "pg_config"  # as postgresql-common's does without libpq-dev
    refusing.write_text("#!/bin/sh\necho 'You need to install libpq-dev' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(postgresql_program("initdb")) in installed
