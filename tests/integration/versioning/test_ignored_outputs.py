"""Git ignores the outputs that DVC keeps."""

from __future__ import annotations

import subprocess

from tests.unit.builders import ROOT
from tests.unit.test_pipeline import each_stage, outputs_of


@each_stage
def test_git_ignores_what_dvc_keeps_and_nothing_else(stage: str) -> None:
    outputs = outputs_of(stage)
    listed = subprocess.run(
        ["git", "check-ignore", "--no-index", *outputs],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    kept = [name for name, options in outputs.items() if options.get("cache", True)]
    assert sorted(listed.stdout.split()) == sorted(kept), listed.stderr
