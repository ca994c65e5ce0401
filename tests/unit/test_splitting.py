"""Splitting: no patch on two sides, none that moves, shares as asked for."""

from __future__ import annotations

import random
from collections import Counter
from math import sqrt

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracks.errors import DataError
from cracks.labels import CRACK, LABELS, NO_CRACK, SPLITS
from cracks.params import SplitParams
from cracks.splitting import SCHEMA, split_counts, split_of_group, split_table
from tests.unit.builders import manifest_of

PARAMS = SplitParams(train=0.7, validation=0.15, test=0.15, salt="salt")
LABEL_OF = {f"patch{i}": LABELS[i % 2] for i in range(400)}
NEW_NAMES = st.dictionaries(st.text(max_size=8), st.sampled_from(LABELS), max_size=20)


def _sides(table: pa.Table) -> dict[str, str]:
    return dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))


def test_a_patch_never_stands_on_two_sides() -> None:
    once = manifest_of(LABEL_OF)
    table = split_table(pa.concat_tables([once, once.slice(100, 50), once]), PARAMS)
    assert Counter(table["id"].to_pylist()) == Counter(LABEL_OF.keys())
    side_of_group: dict[str, str] = {}
    for group, split in zip(table["group"].to_pylist(), table["split"].to_pylist(), strict=True):
        assert side_of_group.setdefault(group, split) == split


def test_every_patch_is_dealt_and_keeps_its_label() -> None:
    table = split_table(manifest_of(LABEL_OF), PARAMS)
    assert table.schema == SCHEMA
    assert dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True)) == LABEL_OF
    assert set(table["split"].to_pylist()) == set(SPLITS)


@settings(max_examples=25)
@given(seed=st.integers())
def test_the_order_of_the_manifest_does_not_matter(seed: int) -> None:
    shuffled = list(LABEL_OF.items())
    random.Random(seed).shuffle(shuffled)
    expected = split_table(manifest_of(LABEL_OF), PARAMS)
    assert split_table(manifest_of(dict(shuffled)), PARAMS).equals(expected)


@settings(max_examples=50)
@given(new=NEW_NAMES)
def test_no_patch_moves_when_others_come_or_go(new: dict[str, str]) -> None:
    before = _sides(split_table(manifest_of(LABEL_OF), PARAMS))
    after = _sides(split_table(manifest_of(LABEL_OF | new), PARAMS))
    assert before.items() <= after.items()


@settings(max_examples=50)
@given(salt=st.text(max_size=10), train=st.floats(0.2, 0.6), validation=st.floats(0.1, 0.3))
def test_every_label_is_dealt_in_the_shares_asked_for(
    salt: str, train: float, validation: float
) -> None:
    params = SplitParams(train=train, validation=validation, test=1 - train - validation, salt=salt)
    label_of = {f"patch{i}": LABELS[i % 4 == 0] for i in range(2000)}
    counts = split_counts(split_table(manifest_of(label_of), params))
    for split in SPLITS:
        share = getattr(params, split)
        for label, total in Counter(label_of.values()).items():
            # Six standard deviations of the binomial distribution: once in 500 million.
            bound = 6 * sqrt(total * share * (1 - share))
            assert abs(counts[split][label] - total * share) < bound, (split, label)


def test_the_split_of_a_patch_is_the_same_for_ever() -> None:
    # A change of these would move patches from test to train in every data set in use.
    shares = {"train": 0.7, "validation": 0.15, "test": 0.15}
    sides = [split_of_group(f"patch{i}", "5y9wdsg2zt", shares) for i in range(10_000)]
    assert [sides[i] for i in (0, 1, 5)] == ["train", "validation", "test"]
    assert Counter(sides) == {"train": 7009, "validation": 1509, "test": 1482}


@pytest.mark.parametrize("rare", LABELS)
def test_a_split_that_would_lack_a_label_is_refused(rare: str) -> None:
    common = CRACK if rare == NO_CRACK else NO_CRACK
    label_of = dict.fromkeys(LABEL_OF, common) | {"patch0": rare, "patch1": rare}
    with pytest.raises(DataError, match=f"no patch of `{rare}` falls to"):
        split_table(manifest_of(label_of), PARAMS)
