"""`make secret-scan`: it finds what was planted, wherever that is, and shows it to nobody."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from processes import CHECKOUT, environment, git

from serving.middleware.api_keys import new_key

#: In the form of AWS's, made up.
ACCESS_KEY = "AKIA" + "J5Q2WX7RTE4PLK3N"
PASSWORD = "Tr0ub4dor" + "-and-3-horses"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the scanner of this one, in which nothing but the scanner was accepted."""
    (tmp_path / "infra").mkdir()
    for name in ("Makefile", "pyproject.toml", "infra/detect_secrets_plugin.py"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    (tmp_path / "settings.py").write_text('HOST = "127.0.0.1"\n')
    git(tmp_path, "init", "-q")
    assert _scan(tmp_path, "ACCEPT=1").returncode == 0
    git(tmp_path, "add", "-A")
    return tmp_path


def _scan(repository: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    # The environment is that of the tests, whatever the dates of the files say.
    how = ["--no-print-directory", "-o", ".venv/.ready", f"BIN={CHECKOUT}/.venv/bin"]
    return subprocess.run(
        ["make", *how, "secret-scan", *settings],
        cwd=repository,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def _found(scan: subprocess.CompletedProcess[str]) -> list[str]:
    """Return kind and place of each finding."""
    assert scan.returncode == 2  # by which make says that the command failed
    lines = scan.stdout.splitlines()
    kinds = [line.split(": ")[1] for line in lines if line.startswith("Secret Type: ")]
    places = [line.split()[1] for line in lines if line.startswith("Location: ")]
    return [f"{place}: {kind}" for place, kind in zip(places, kinds, strict=True)]


def test_a_password_is_found_with_its_place_and_not_shown(repository: Path) -> None:
    clean = _scan(repository)
    assert (clean.returncode, clean.stdout) == (0, "")
    (repository / "settings.py").write_text(f'HOST = "127.0.0.1"\nPASSWORD = "{PASSWORD}"\n')
    scan = _scan(repository)
    assert _found(scan) == ["settings.py:2: Secret Keyword"]
    assert PASSWORD not in scan.stdout + scan.stderr


def test_a_file_that_git_does_not_know_yet_is_looked_at_too(repository: Path) -> None:
    (repository / "new.py").write_text(f'KEY = "{new_key()}"\nID = "{ACCESS_KEY}"\n')
    found = _found(_scan(repository))
    assert {"new.py:1: Key of the service", "new.py:2: AWS Access Key"} <= set(found)


def test_what_was_accepted_is_told_no_more_and_everything_else_is(repository: Path) -> None:
    settings = repository / "settings.py"
    settings.write_text(f'PASSWORD = "{PASSWORD}"\n')
    assert _scan(repository, "ACCEPT=1").returncode == 0
    accepted = (repository / ".secrets.baseline").read_text()
    assert PASSWORD not in accepted
    assert str(repository) not in accepted  # it holds on every machine
    git(repository, "add", "-A")
    settings.write_text(f'\nPASSWORD = "{PASSWORD}"\n')
    assert _scan(repository).returncode == 0
    settings.write_text(f'\nPASSWORD = "{PASSWORD}"\nOTHER_PASSWORD = "{PASSWORD}-too"\n')
    assert _found(_scan(repository)) == ["settings.py:3: Secret Keyword"]


def test_logs_are_full_of_digests_and_a_secret_among_them_is_found(tmp_path: Path) -> None:
    log = tmp_path / "logs/worker.log"
    log.parent.mkdir()
    digests = "".join(f'{{"digest": "{number:064x}"}}\n' for number in range(7**20, 7**20 + 50))
    log.write_text(digests)
    (tmp_path / "model.bin").write_bytes(bytes(range(256)))
    clean = _scan(CHECKOUT, f"PATHS={tmp_path}")
    assert (clean.returncode, clean.stdout) == (0, "")
    key = new_key()
    log.write_text(f"{digests}credentials {ACCESS_KEY}\nAuthorization: Bearer {key}\n")
    scan = _scan(CHECKOUT, f"PATHS={tmp_path}")
    assert _found(scan) == [f"{log}:51: AWS Access Key", f"{log}:52: Key of the service"]
    assert key not in scan.stdout + scan.stderr
