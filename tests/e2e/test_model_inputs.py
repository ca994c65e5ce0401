"""What the model is given is never computed twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import Workspace

pytestmark = pytest.mark.e2e


def test_new_photographs_cost_only_their_own_features(
    make_workspace: Callable[[], Workspace],
) -> None:
    workspace = make_workspace()
    workspace.configure(
        "ingest.source=sample",
        "ingest.sample.patches=200",
        "ingest.shard_rows=100",
        "featurize.image_size=32",
    )
    first = workspace.dvc("repro", "featurize")
    assert first.returncode == 0, first.stderr
    folder = workspace.root / "data/features"
    known = {file.name: file.read_bytes() for file in folder.glob("*.npy")}
    times = {name: (folder / name).stat().st_mtime_ns for name in known}
    assert len(known) == 2
    workspace.configure("ingest.sample.patches=300")
    done = workspace.dvc("repro", "featurize")
    assert done.returncode == 0, done.stderr
    assert "2 of 3 shards known" in done.stderr
    assert "100 of 100" in done.stderr
    now = {file.name: file.read_bytes() for file in folder.glob("*.npy")}
    assert len(now) == 3
    for name, content in known.items():
        assert now[name] == content
        assert (folder / name).stat().st_mtime_ns == times[name]
