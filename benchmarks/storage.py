"""Folders on their way to S3 and back, by DVC; the endpoint is rclone over a scratch folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.photographs import CHECKOUT
from benchmarks.scratch import MeasurementFailed, Run, Scratch, free_port

#: rclone takes only keys of some length.
ACCESS_KEY, SECRET_KEY = "measurer-of-cracks", "secret-of-measuring"

BUCKET = "bench"

#: Seconds that the endpoint has to start.
START_TIMEOUT = 30

#: The settings of this project's own .dvc/config, and the remote.
DVC_CONFIG = """[core]
    no_scm = true
    analytics = false
    check_update = false
    remote = s3
[cache]
    type = copy
['remote "s3"']
    url = s3://{bucket}/{prefix}
"""


class Endpoint:
    """S3 storage that DVC repositories push to, each under its own prefix."""

    def __init__(self, scratch: Scratch, url: str) -> None:
        self._scratch, self._url, self._trips = scratch, url, 0

    def round_trip(self, folder: Path) -> dict[str, float]:
        """Push, lose and pull a copy of `folder` in a fresh DVC repository; return the seconds.

        Raises:
            MeasurementFailed: a command fails, or fewer files came back than went.
        """
        self._trips += 1
        root = self._scratch.place / f"repository-{self._trips}"
        shutil.copytree(folder, root / "photographs")
        self._dvc(root, "init", "--quiet", "--no-scm")
        config = DVC_CONFIG.format(bucket=BUCKET, prefix=f"trip-{self._trips}")
        (root / ".dvc" / "config").write_text(config)
        self._dvc(root, "add", "photographs")
        push = self._dvc(root, "push")
        self._lose(root)
        pull = self._dvc(root, "pull")
        _require_whole(folder, root / "photographs")
        shutil.rmtree(root)
        return {"push": push.seconds, "pull": pull.seconds}

    def _lose(self, root: Path) -> None:
        """Leave what a clone elsewhere has: the settings, and the file that names the data."""
        places = (root / "photographs", root / ".dvc" / "cache", root / ".dvc" / "tmp")
        for place in (*places, self._scratch.place / "dvc-site"):
            shutil.rmtree(place, ignore_errors=True)

    @property
    def variables(self) -> dict[str, str]:
        """What a client needs to use this endpoint and no other."""
        return {
            "AWS_ENDPOINT_URL": self._url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": str(self._scratch.place / "no-settings"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self._scratch.place / "no-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            # rclone does not know the checksums that clients add by themselves.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }

    def _dvc(self, root: Path, *arguments: str) -> Run:
        self._scratch.tell(f"{root.name}: dvc {arguments[0]}")
        return self._scratch.run_module("dvc", *arguments, cwd=root, **self.variables)


@contextmanager
def s3_endpoint(scratch: Scratch, *options: str) -> Iterator[Endpoint]:
    """Yield an endpoint with rclone's own settings, or `options`; it ends with the block.

    Raises:
        MeasurementFailed: rclone is absent, or does not start.
    """
    program = Path(os.environ.get("CRACKS_RCLONE", CHECKOUT / ".tools" / "rclone"))
    if not program.is_file():
        raise MeasurementFailed(f"there is no {program}; `make setup` installs it")
    place, port = scratch.place / "s3", free_port()
    (place / BUCKET).mkdir(parents=True)
    command: list[str | Path] = [program, "serve", "s3", "--config", ""]
    command += ["--cache-dir", scratch.place / "rclone-cache", "--addr", f"127.0.0.1:{port}"]
    command += [*options, "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", place]
    with scratch.started("rclone", command, scratch.place) as rclone:
        rclone.wait_until(lambda said: "Starting s3 server" in said, "its start", START_TIMEOUT)
        yield Endpoint(scratch, f"http://127.0.0.1:{port}")
    shutil.rmtree(place)


def _require_whole(folder: Path, copy: Path) -> None:
    went, came = (sum(file.is_file() for file in one.rglob("*")) for one in (folder, copy))
    if went != came:
        raise MeasurementFailed(f"{went:,} files were pushed and {came:,} pulled")
