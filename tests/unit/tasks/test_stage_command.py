"""`python -m tasks STAGE`: what DVC calls."""

from __future__ import annotations

import pytest

from cracks.workspace.paths import STAGES
from tasks.__main__ import main


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["nonsense"],
        ["split", "train"],
        [""],
        ["register"],
        ["promote"],
        ["__main__"],
    ],
)
def test_anything_but_one_stage_is_refused_with_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"usage: python -m tasks {{{','.join(STAGES)}}}"]
