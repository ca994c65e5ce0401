"""What DVC keeps elsewhere: pushed to the folder of the clone or to S3, and pulled back whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from processes import CHECKOUT, environment, free_port
from s3 import ACCESS_KEY, SECRET_KEY, S3Proxy, S3Server

from tests.unit.builders import tree, write_files

DATA = {
    "images/one.jpg": np.random.default_rng(1).bytes(50_000),
    "images/deep/two.jpg": b"two",
    "images/empty.jpg": b"",
}


@dataclass(frozen=True)
class Clone:
    """A small workspace with the settings of DVC and git that this checkout has."""

    root: Path
    variables: Mapping[str, str]

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.root,
            env=environment(**{**self.variables, **variables}),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def dvc(self, *arguments: str, **variables: str) -> str:
        done = self.run(sys.executable, "-m", "dvc", *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def use_s3(
        self, address: str, *arguments: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        script = str(CHECKOUT / "infra" / "dvc_remote.py")
        return self.run(sys.executable, script, address, *arguments, **variables)

    def lose(self) -> None:
        """Lose the files and everything of DVC that is not the remote."""
        for name in ("images", ".dvc/cache", ".dvc/tmp"):
            shutil.rmtree(self.root / name)

    def untracked(self) -> str:
        return self.run("git", "status", "--porcelain", "--untracked-files=all").stdout

    @property
    def images(self) -> dict[str, bytes]:
        files = tree(self.root / "images")
        return {f"images/{name}": content for name, content in files.items() if content is not None}


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone = Clone(tmp_path_factory.mktemp("added"), {})
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        write_files(clone.root, {name: (CHECKOUT / name).read_bytes()})
    write_files(clone.root, DATA)
    clone.run("git", "init", "--quiet")
    clone.dvc("add", "--quiet", "images")
    clone.run("git", "add", "-A")
    return clone.root


@pytest.fixture
def clone(added: Path, tmp_path: Path) -> Clone:
    return Clone(shutil.copytree(added, tmp_path / "clone"), {})


@pytest.fixture
def near_s3(clone: Clone, s3_server: S3Server) -> Clone:
    return Clone(clone.root, s3_server.variables)


def test_without_further_settings_dvc_pushes_into_a_folder_of_the_clone(clone: Clone) -> None:
    before = clone.untracked()
    clone.dvc("push")
    assert (clone.root / ".dvc" / "storage" / "files").is_dir()
    assert clone.untracked() == before, "git sees the remote"
    clone.lose()
    clone.dvc("pull")
    assert clone.images == DATA


def test_s3_keeps_what_is_pushed_and_gives_it_back(near_s3: Clone, s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    bucket.rmdir()
    done = near_s3.use_s3(f"s3://{bucket.name}/team/dvc")
    assert done.returncode == 0, done.stderr
    assert f"The bucket {bucket.name} was missing and has been created" in done.stdout
    near_s3.dvc("push")
    assert (bucket / "team" / "dvc" / "files").is_dir()
    assert not (near_s3.root / ".dvc" / "storage").exists()
    near_s3.lose()
    near_s3.dvc("pull")
    assert near_s3.images == DATA


def test_a_given_endpoint_is_kept_and_a_secret_is_not(near_s3: Clone, s3_server: S3Server) -> None:
    name = s3_server.new_bucket().name
    before = near_s3.untracked()
    for _ in ("once", "and again"):
        done = near_s3.use_s3(
            f"s3://{name}/dvc/",
            *("--endpoint-url", s3_server.url),
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}",
        )
        assert done.returncode == 0, done.stderr
        assert "created" not in done.stdout
    settings = (near_s3.root / ".dvc" / "config.local").read_text()
    assert ACCESS_KEY not in settings + done.stdout
    assert SECRET_KEY not in settings + done.stdout
    assert near_s3.untracked() == before, "git sees the settings of this clone"
    without = {key: value for key, value in near_s3.variables.items() if "ENDPOINT" not in key}
    Clone(near_s3.root, without).dvc("push")
    assert (s3_server.place / name / "dvc" / "files").is_dir()


@pytest.mark.slow
def test_an_upload_does_not_wait_for_ever_for_leave_to_send(
    near_s3: Clone, s3_server: S3Server
) -> None:
    # rclone does so where it has no folder for an object yet and fails to make one.
    bucket = s3_server.new_bucket()
    with S3Proxy(s3_server.url, gives_leave=False) as proxy:
        near = Clone(near_s3.root, {**near_s3.variables, "AWS_ENDPOINT_URL": proxy.url})
        near.dvc("remote", "add", "--local", "--default", "s3", f"s3://{bucket.name}/dvc")
        done = near.run(sys.executable, "-m", "cracks.versioning.dvc_cli", "push")
    assert done.returncode == 0, done.stderr
    assert (bucket / "dvc/files").is_dir()


def test_a_remote_that_cannot_be_used_is_not_written(near_s3: Clone) -> None:
    for address, reason in (
        ("photos", "s3://BUCKET/PREFIX"),
        ("s3://bucket/x", "access is denied"),
    ):
        done = near_s3.use_s3(address, AWS_SECRET_ACCESS_KEY="wrong")
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert reason in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (near_s3.root / ".dvc" / "config.local").exists()
