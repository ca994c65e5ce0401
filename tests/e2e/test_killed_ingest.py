"""An ingest that is killed at any moment loses nothing: the next one ends as if it had not been."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import RunningProcess, clone_working_tree, wait_until

from cracks.images.synthetic_concrete import draw_sample
from cracks.workspace.params_file import set_params

pytestmark = pytest.mark.e2e

PATCHES = 600

#: Kills on an empty workspace, and as many on one that has taken in a part of the photographs.
KILLS = 5

#: What a run writes, beside the report that names no time either.
WRITTEN = ("data", "reports")

Files = dict[str, bytes]


@dataclass(frozen=True)
class Site:
    """A clone, its photographs, and what lay in it before a run."""

    root: Path
    logs: Path
    before: Path

    def start(self) -> RunningProcess:
        command = [sys.executable, "-m", "tasks", "ingest"]
        return RunningProcess(command, self.logs, cwd=self.root, name="ingest")

    def run(self) -> float:
        """Run to the end, and return how many seconds it took from the first thing written on."""
        process = self.start()
        try:
            begun = self.wait_for_writing(process)
            assert process.wait(120) == 0, process.log
            return time.monotonic() - begun
        finally:
            process.end()

    def wait_for_writing(self, process: RunningProcess) -> float:
        partial = self.root / "data/.images.partial"
        wait_until(
            lambda: partial.exists() or process.exit_code is not None,
            "the first shard",
            timeout=120,
            interval=0.002,
        )
        return time.monotonic()

    def kill(self, moment: Callable[[RunningProcess], None]) -> int:
        """Start a run, kill it with all its threads and children, and return its exit code."""
        process = self.start()
        try:
            self.wait_for_writing(process)
            moment(process)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return process.wait(30)
        finally:
            process.end()

    def keep(self) -> None:
        """Make what lies there now what lay there before a run."""
        for name in WRITTEN:
            if (self.root / name).exists():
                shutil.copytree(self.root / name, self.before / name)
        self.before.mkdir(exist_ok=True)

    def reset(self) -> None:
        for name in WRITTEN:
            shutil.rmtree(self.root / name, ignore_errors=True)
            if (self.before / name).exists():
                shutil.copytree(self.before / name, self.root / name)

    def files(self) -> Files:
        """Return every file of the outputs, hidden ones and leftovers too."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for name in WRITTEN
            for path in sorted((self.root / name).rglob("*"))
            if path.is_file()
        }


@pytest.fixture(scope="module")
def photographs() -> dict[str, bytes]:
    drawn = dict(draw_sample(PATCHES, seed=5, processes=os.cpu_count() or 1))
    names = list(drawn)
    copies = {f"Positive/copy {i}.jpg": drawn[names[-i]] for i in (1, 2, 3)}
    unusable = {"Negative/cut.jpg": drawn[names[0]][:500], "Positive/empty.jpg": b""}
    return drawn | copies | unusable


def _site(folder: Path, photographs: Files, is_append: bool) -> Site:
    """Return a site that has taken in nothing, or every third photograph and some now gone."""
    site = Site(clone_working_tree(folder / "workspace"), folder / "logs", folder / "before")
    set_params(site.root / "params.yaml", ["ingest.source=../photos", "ingest.shard_rows=50"])
    if is_append:
        gone = {f"Negative/gone {i}.jpg": content for i, (_, content) in enumerate(_others())}
        names = list(photographs)[1::3]
        _put(folder / "photos", {name: photographs[name] for name in names} | gone)
        site.run()
        shutil.rmtree(folder / "photos")
    site.keep()
    _put(folder / "photos", photographs)
    return site


def _others() -> list[tuple[str, bytes]]:
    return list(draw_sample(6, seed=6))


def _put(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _after(seconds: float) -> Callable[[RunningProcess], None]:
    def moment(process: RunningProcess) -> None:
        time.sleep(seconds)

    return moment


def _when_the_manifest_moves(site: Site) -> Callable[[RunningProcess], None]:
    """Kill as near as can be to the moment between the manifest's move and that of the shards."""
    manifest = site.root / "data/manifest.parquet"
    before = manifest.stat().st_ino if manifest.exists() else None

    def moved() -> bool:
        with suppress(FileNotFoundError):
            return manifest.stat().st_ino != before
        return False

    def moment(process: RunningProcess) -> None:
        wait_until(
            lambda: moved() or process.exit_code is not None,
            "the manifest",
            timeout=120,
            interval=0,
        )

    return moment


def _killed_again_and_again(site: Site, seed: int) -> int:
    """Return how many runs were killed before they ended; each was followed by a whole one."""
    whole = site.run()
    undisturbed = site.files()
    assert "data/manifest.parquet" in undisturbed
    rng = random.Random(seed)
    killed = 0
    for number in range(KILLS):
        site.reset()
        # One kill in each part of the run, at a random moment of it.
        moment = _after(whole * (number + rng.random()) / (KILLS - 1))
        if number == KILLS - 1:
            moment = _when_the_manifest_moves(site)
        killed += site.kill(moment) == -signal.SIGKILL
        site.run()
        assert site.files() == undisturbed
    return killed


def test_whenever_it_is_killed_the_next_run_ends_with_the_same_bytes(
    photographs: Files, tmp_path: Path
) -> None:
    sites = [_site(tmp_path / str(i), photographs, bool(i)) for i in range(2)]
    # Two at a time: a run waits for its imports and the disk more than it computes.
    with ThreadPoolExecutor(2) as pool:
        killed = list(pool.map(_killed_again_and_again, sites, (2026, 2027)))
    assert min(killed) >= KILLS - 2, "most runs must have been killed, not have ended before"
