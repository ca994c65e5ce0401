"""Golden patches: a few that span all scores, and that come back as they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cracks.errors import BundleError
from cracks.inference.bundle.golden_patches import PATCHES, choose_golden, read_golden, write_golden

CONTENTS = [bytes([number]) for number in range(50)]
KERAS = np.linspace(1, 0, 50) ** 3
RAW = KERAS + 1e-7


def test_the_golden_patches_span_the_scores_from_the_lowest_to_the_highest() -> None:
    golden = choose_golden(CONTENTS, RAW, KERAS)
    assert len(golden.contents) == PATCHES
    assert golden.keras[0] == KERAS.min()
    assert golden.keras[-1] == KERAS.max()
    assert (np.diff(golden.keras) > 0).all()
    np.testing.assert_array_equal(golden.raw, golden.keras + 1e-7)
    assert golden.contents[-1] == CONTENTS[0]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_of_few_patches_each_is_golden_once(count: int) -> None:
    golden = choose_golden(CONTENTS[:count], RAW[:count], KERAS[:count])
    assert sorted(golden.contents) == CONTENTS[:count]


def test_golden_patches_come_back_as_they_were_written(tmp_path: Path) -> None:
    golden = choose_golden(CONTENTS, RAW, KERAS)
    write_golden(golden, tmp_path / "golden.parquet")
    again = read_golden(tmp_path / "golden.parquet")
    assert again.contents == golden.contents
    np.testing.assert_array_equal(again.raw, golden.raw)
    np.testing.assert_array_equal(again.keras, golden.keras)
    first = (tmp_path / "golden.parquet").read_bytes()
    write_golden(golden, tmp_path / "golden.parquet")
    assert (tmp_path / "golden.parquet").read_bytes() == first


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "golden.parquet").write_bytes(b"no table")
    with pytest.raises(BundleError, match=r"damaged .*cracks promote"):
        read_golden(tmp_path / "golden.parquet")
