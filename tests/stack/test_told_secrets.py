"""What a training leaves behind tells no secret: logs, artifacts, databases, workspace, history."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from processes import CHECKOUT, git, wait_until

from infra.stack.leftovers import processes
from infra.stack.settings import DATABASES, postgresql_program
from serving.middleware.api_keys import new_key
from tests.stack.conftest import RunningStack, Training
from tests.stack.steady_client import recorded_in

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

#: A figure within a text, of megabytes.
PICTURE = re.compile(r"base64,[A-Za-z0-9+/=]+")

#: What git ever added to the workspace, as one file.
HISTORY = "history.patch"

#: Detectors that find digests, weights and addresses, of which logs and artifacts are full.
NOISY = ("Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector")

#: Bytes of a file that are looked at in one go.
BLOCK = 1 << 20


@pytest.fixture(scope="module")
def told(
    stack: RunningStack, trained: Training, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """All that others may come to read, as files."""
    stack.up()
    place, written = stack.place, tmp_path_factory.mktemp("told")
    given = {answer["prediction_id"] for answer in stack.predict(trained.photographs)}
    # What is listed here must stay where it is until it was looked at; uploads come once a minute.
    bucket = place.storage / "answers"
    wait_until(lambda: given <= recorded_in(bucket), "the upload", timeout=180, interval=1)
    for name in DATABASES:
        (written / f"{name}.sql").write_text(_dump(stack, name))
    commands = [" ".join(process.cmdline()) for process in processes(place)]
    (written / "commands.txt").write_text("\n".join(commands))
    # A file that holds addresses and credentials of its own making would be in here too.
    secret = {place.secrets, place.client}
    places = [*set(place.folder.iterdir()) - secret - {place.databases}, written]
    (written / HISTORY).write_bytes(_history(trained.workspace))
    below = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    return [*below, *_made_in(trained.workspace)]


def _history(workspace: Path) -> bytes:
    """Return every line that any commit added or took out."""
    command = ["git", "log", "--patch", "--unified=0", "-m", "--text", "--no-ext-diff"]
    return subprocess.run(command, cwd=workspace, capture_output=True, check=True).stdout


def _made_in(workspace: Path) -> list[Path]:
    """Return what the training made or changed there: the rest are sources."""
    listed = git(workspace, "ls-files", "-z", "--others", "--modified").split("\0")
    return [workspace / name for name in listed if (workspace / name).is_file()]


def _dump(stack: RunningStack, database: str) -> str:
    # Prefect's catalogue of blocks shows made-up passwords in its examples.
    catalogue = [f"--exclude-table-data=block_{name}" for name in ("schema", "type")]
    where = ["--host=127.0.0.1", f"--username={database}", database]
    done = subprocess.run(
        [postgresql_program("pg_dump"), *catalogue, *where],
        env={
            "PGPORT": str(stack.ports["postgresql"]),
            "PGPASSWORD": stack.secrets[f"CRACKS_{database.upper()}_DB_PASSWORD"],
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return PICTURE.sub("", done.stdout)


def _containing(files: list[Path], secrets: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    wanted = {name: secret.encode() for name, secret in secrets.items()}
    longest = max(map(len, wanted.values()))
    for file in files:
        with file.open("rb") as stream:
            rest = b""
            while block := stream.read(BLOCK):
                text = rest + block
                yield from ((name, file) for name, secret in wanted.items() if secret in text)
                rest = text[-longest:]


def test_none_of_the_secrets_stands_anywhere(stack: RunningStack, told: list[Path]) -> None:
    assert list(_containing(told, stack.secrets)) == []
    planted = told[0].with_name("planted.bin")
    planted.write_bytes(b"\0" * (BLOCK - 9) + stack.secrets["CRACKS_S3_SECRET_KEY"].encode())
    try:
        found = list(_containing([planted], stack.secrets))
    finally:
        planted.unlink()
    assert found == [("CRACKS_S3_SECRET_KEY", planted)]


def test_the_scanner_finds_nothing_but_what_was_planted(
    stack: RunningStack, told: list[Path]
) -> None:
    log = stack.place.log("planted")
    artifact = stack.place.storage / "mlflow/artifacts/planted.json"
    log.write_text(f"Authorization: Bearer {new_key()}\n")
    artifact.write_text('{"AWS_ACCESS_KEY_ID": "AKIA' + 'J5Q2WX7RTE4PLK3N"}\n')
    try:
        found = _scan([*filter(_is_worth_a_look, told), log, artifact])
    finally:
        log.unlink()
        artifact.unlink()
    accepted = json.loads((CHECKOUT / ".secrets.baseline").read_text())["results"]
    known = {finding[1:] for finding in _findings(accepted)}  # the workspace is a clone
    told_now = {finding[:2] for finding in found if finding[1:] not in known}
    assert told_now == {(str(log), "Key of the service"), (str(artifact), "AWS Access Key")}


def _scan(files: list[Path]) -> list[tuple[str, str, str]]:
    """Return file, kind and digest of each finding, with the settings of `make secret-scan`."""
    off = [option for name in NOISY for option in ("--disable-plugin", name)]
    scan = [CHECKOUT / ".venv/bin/detect-secrets-hook", "--json", "-n", *off]
    done = subprocess.run(
        [*scan, "--plugin", "infra/detect_secrets_plugin.py", *files],
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
    )
    return _findings(json.loads(done.stdout)["results"])


def _findings(results: Mapping[str, list[dict[str, str]]]) -> list[tuple[str, str, str]]:
    every = [finding for findings in results.values() for finding in findings]
    return [(one["filename"], one["type"], one["hashed_secret"]) for one in every]


def _is_worth_a_look(file: Path) -> bool:
    """Leave out the history, pixels written as numbers, which take minutes, and DVC's copies."""
    return (
        file.name != HISTORY
        and not file.name.endswith("input_example.json")
        and ".dvc" not in file.parts
    )
