"""`make secret-scan`: it finds what was planted, wherever that is, and shows it to nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from processes import CHECKOUT, environment

from serving.middleware.api_keys import new_key

pytestmark = pytest.mark.integration

#: In the form of AWS's, made up.
ACCESS_KEY = "AKIA" + "J5Q2WX7RTE4PLK3N"
PASSWORD = "Tr0ub4dor" + "-and-3-horses"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    _git(tmp_path, "init", "-q")
    (tmp_path / "settings.py").write_text('HOST = "127.0.0.1"\n')
    _commit(tmp_path)
    return tmp_path


def _git(repository: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True)


def _commit(repository: Path) -> None:
    _git(repository, "add", "-A")
    _git(repository, "commit", "-qm", "as it stands")


def _scan(repository: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.secret_scan", "--repository", str(repository)]
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_a_commit_took_out_again_is_found_in_the_history(repository: Path) -> None:
    assert _scan(repository).stdout == "No secret was found.\n"
    settings = repository / "settings.py"
    before = settings.read_text()
    settings.write_text(f'{before}PASSWORD = "{PASSWORD}"\n')
    _commit(repository)
    found = _scan(repository)
    assert (found.returncode, found.stdout) == (1, "settings.py:2: Secret Keyword\n")
    settings.write_text(before)
    _commit(repository)
    found = _scan(repository)
    told = "settings.py (in the history): Secret Keyword\n"
    assert (found.returncode, found.stdout) == (1, told)
    assert PASSWORD not in found.stdout + found.stderr


def test_what_was_accepted_is_told_no_more_and_everything_else_is(repository: Path) -> None:
    settings = repository / "settings.py"
    settings.write_text(f'PASSWORD = "{PASSWORD}"\n')
    assert _scan(repository, "--accept").returncode == 0
    assert PASSWORD not in (repository / ".secrets.baseline").read_text()
    settings.write_text(f'\nPASSWORD = "{PASSWORD}"\nOTHER_PASSWORD = "{PASSWORD}-too"\n')
    found = _scan(repository)
    assert (found.returncode, found.stdout) == (1, "settings.py:3: Secret Keyword\n")


def test_logs_are_full_of_digests_and_a_secret_among_them_is_found(tmp_path: Path) -> None:
    log = tmp_path / "logs/worker.log"
    log.parent.mkdir()
    digests = "".join(f'{{"digest": "{number:064x}"}}\n' for number in range(7**20, 7**20 + 50))
    log.write_text(digests)
    (tmp_path / "model.bin").write_bytes(bytes(range(256)))
    assert _scan(tmp_path, tmp_path).stdout == "No secret was found.\n"
    key = new_key()
    log.write_text(f"{digests}credentials {ACCESS_KEY}\nAuthorization: Bearer {key}\n")
    found = _scan(tmp_path, tmp_path)
    assert found.returncode == 1
    assert found.stdout == f"{log}:51: AWS Access Key\n{log}:52: Key of the service\n"
    assert key not in found.stdout + found.stderr
