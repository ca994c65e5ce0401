"""Splitting: what belongs together stays together, nothing moves, the shares are as asked for."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracks.dataset.labels import CRACK, LABELS, LEFT_OUT, NO_CRACK, SPLITS
from cracks.dataset.split.assignment import (
    ASSIGNED_BY,
    MAX_PART,
    SCHEMA,
    earlier_table,
    split_counts,
    split_report,
    split_table,
)
from cracks.dataset.split.components import components
from cracks.dataset.split.grouping import Likeness
from cracks.dataset.split.weak_ties import Photographs
from cracks.workspace.params import SplitParams
from cracks.workspace.tables import write_table
from tests.unit.builders import likeness_of

Link = tuple[str, str]
Grown = tuple[dict[str, str], list[Link], pa.Table]

PARAMS = SplitParams(
    train=0.7,
    validation=0.15,
    test=0.15,
    salt="salt",
    near_copy_distance=0.6,
    recrop_response=0.6,
    overlap_correlation=0.85,
    unit="photo",
    max_group_patches=660,
)
LABEL_OF = {f"patch{i:03}": LABELS[i % 2] for i in range(400)}
SALTS = st.text(max_size=8)


def _salted(salt: str, **shares: float) -> SplitParams:
    return PARAMS.model_copy(update={"salt": salt, **shares})


def _grouped(sizes: Iterable[int], label: str = "") -> tuple[dict[str, str], list[Link]]:
    """Return patches that hang together in chains of these sizes, labelled in turn."""
    label_of, links = {}, []
    for group, size in enumerate(sizes):
        members = [f"g{group:04}-{i:04}" for i in range(size)]
        label_of |= dict.fromkeys(members, label or LABELS[group % 2])
        links += list(pairwise(members))
    return label_of, links


def _split(
    label_of: Mapping[str, str],
    links: Iterable[Link] = (),
    earlier: pa.Table | None = None,
    params: SplitParams = PARAMS,
) -> pa.Table:
    return split_table(likeness_of(label_of, links), params, earlier)


def _column(table: pa.Table, name: str) -> dict[str, str]:
    return dict(zip(table["id"].to_pylist(), table[name].to_pylist(), strict=True))


def _sides(table: pa.Table) -> dict[str, str]:
    return _column(table, "split")


def _in(table: pa.Table, split: str) -> str:
    """Return some patch of a split."""
    return next(id_ for id_, side in _sides(table).items() if side == split)


def _splits_of_groups(table: pa.Table) -> dict[str, set[str]]:
    """Return the splits in which each group is used."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in table.to_pylist():
        if row["split"] != LEFT_OUT:
            found[row["group"]].add(row["split"])
    return found


def _straddling(table: pa.Table) -> list[str]:
    return [group for group, splits in _splits_of_groups(table).items() if len(splits) > 1]


def _leaking(table: pa.Table, links: Iterable[Link]) -> list[Link]:
    """Return the links between patches that are used in different splits."""
    sides = _sides(table)
    return [
        (a, b) for a, b in links if sides[a] != sides[b] and LEFT_OUT not in (sides[a], sides[b])
    ]


# --- Once


def test_every_patch_is_assigned_once_and_keeps_its_label() -> None:
    table = _split(LABEL_OF)
    assert table.schema.equals(SCHEMA)
    assert table["id"].to_pylist() == sorted(LABEL_OF)
    assert _column(table, "label") == LABEL_OF
    assert set(table["split"].to_pylist()) == set(SPLITS)


def test_what_is_linked_is_one_group_and_stands_in_one_split() -> None:
    label_of, links = _grouped([1, 2, 3, 5, 8, 13] * 10)
    table = _split(label_of, links)
    assert len(set(table["group"].to_pylist())) == 60
    assert _straddling(table) == []
    assert _leaking(table, links) == []
    for id_, group in _column(table, "group").items():
        assert group.partition("-")[0] == id_.partition("-")[0]


def test_a_picture_is_named_by_its_first_patch() -> None:
    likeness = likeness_of(dict.fromkeys("abcd", CRACK), [("a", "c")])
    likeness = replace(likeness, near_copies=likeness.recrops)
    table = split_table(likeness, PARAMS, None)
    assert _column(table, "near_copies") == {"a": "a", "b": "b", "c": "a", "d": "d"}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers())
def test_the_order_of_patches_and_links_does_not_matter(seed: int) -> None:
    label_of, links = _grouped([1, 2, 3] * 30)
    shuffled = random.Random(seed)
    patches = list(label_of.items())
    mixed = [(a, b) if shuffled.random() < 0.5 else (b, a) for a, b in links]
    shuffled.shuffle(patches)
    shuffled.shuffle(mixed)
    assert _split(dict(patches), mixed).equals(_split(label_of, links))


@settings(max_examples=15, deadline=None)
@given(salt=SALTS, train=st.floats(0.2, 0.6), validation=st.floats(0.1, 0.3))
def test_single_patches_are_split_in_nearly_the_very_shares_of_each_label(
    salt: str, train: float, validation: float
) -> None:
    shares = {"train": train, "validation": validation, "test": 1 - train - validation}
    label_of = {f"patch{i}": LABELS[i % 4 == 0] for i in range(1000)}
    table = _split(label_of, params=_salted(salt, **shares))
    counts = split_counts(table)
    for label, total in Counter(label_of.values()).items():
        for split in SPLITS:
            assert abs(counts[split][label] - total * shares[split]) < 2, (split, label)


@settings(max_examples=15, deadline=None)
@given(salt=SALTS, sizes=st.lists(st.integers(1, 12), min_size=150, max_size=200))
def test_groups_are_split_in_nearly_the_very_shares_of_each_label(
    salt: str, sizes: list[int]
) -> None:
    label_of, links = _grouped([*sizes, *[1] * 60])
    counts = split_counts(_split(label_of, links, params=_salted(salt)))
    for label, total in Counter(label_of.values()).items():
        for split in SPLITS:
            wanted = total * getattr(PARAMS, split)
            assert abs(counts[split][label] - wanted) <= 0.01 * total + 2, (split, label)


@settings(max_examples=15, deadline=None)
@given(salt=SALTS)
def test_a_huge_group_goes_to_train_and_others_are_no_large_part_of_a_split(salt: str) -> None:
    label_of, links = _grouped([150, 35, 35, 35, *[12] * 20, *[1] * 400], CRACK)
    table = _split(label_of, links, params=_salted(salt))
    assert {_sides(table)[id_] for id_ in label_of if id_.startswith("g0000")} == {"train"}
    wanted = 0.15 * len(label_of)
    used = [(row["group"], row["split"]) for row in table.to_pylist()]
    assert pytest.approx(0.25) == MAX_PART
    for (_, split), size in Counter(used).items():
        assert split == "train" or size <= 0.25 * wanted
    assert split_counts(table)["test"][CRACK] == pytest.approx(wanted, abs=2)


@settings(max_examples=15, deadline=None)
@given(salt=SALTS)
def test_few_photographs_of_many_patches_each_fill_every_split(salt: str) -> None:
    label_of, links = _grouped([16] * 24)
    counts = split_counts(_split(label_of, links, params=_salted(salt)))
    assert all(counts[split][label] >= 16 for split in SPLITS for label in LABELS)


def test_a_group_as_large_as_all_of_train_still_goes_there() -> None:
    label_of, links = _grouped([90, *[1] * 10], CRACK)
    table = _split(label_of, links)
    assert _splits_of_groups(table)["g0000-0000"] == {"train"}
    # Train is more than full, so that nothing else goes there.
    counts = split_counts(table)
    assert counts["train"][CRACK] == 90
    assert min(counts["validation"][CRACK], counts["test"][CRACK]) >= 1


def test_a_group_under_both_labels_counts_as_what_most_of_it_is() -> None:
    label_of, links = _grouped([9] * 40, CRACK)
    label_of |= {id_: NO_CRACK for id_ in label_of if id_.endswith("0")}
    counts = split_counts(_split(label_of, links))
    assert counts["train"][CRACK] == pytest.approx(0.7 * 320, abs=20)
    assert _straddling(_split(label_of, links)) == []


def test_another_salt_is_another_split() -> None:
    one, other = (_sides(_split(LABEL_OF, params=_salted(salt))) for salt in ("salt", "pepper"))
    same = sum(one[id_] == other[id_] for id_ in LABEL_OF)
    # By chance 0.7² + 0.15² + 0.15² = 0.535 of them are assigned alike.
    assert 0.4 < same / len(LABEL_OF) < 0.67


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_patches_is_split_too(count: int) -> None:
    table = _split({f"patch{i}": CRACK for i in range(count)})
    assert set(table["split"].to_pylist()) <= set(SPLITS)


def test_the_split_of_a_patch_is_the_same_on_every_machine() -> None:
    # A change of these moves patches from test to train wherever a data set is split anew.
    params = _salted("5y9wdsg2zt")
    label_of, links = _grouped([7, 3, 2, *[1] * 200])
    sides = _sides(_split(label_of, links, params=params))
    pinned = {"g0000": "train", "g0002": "test", "g0004": "test", "g0007": "validation"}
    assert {group: sides[f"{group}-0000"] for group in pinned} == pinned
    assert Counter(sides.values()) == {"train": 149, "validation": 31, "test": 32}


# --- And again, when patches have come or gone


@pytest.fixture(scope="module")
def grown() -> Grown:
    """Return patches in groups, and the table of their split."""
    label_of, links = _grouped([1, 2, 3, 4] * 25)
    return label_of, links, _split(label_of, links)


def _ties(before: pa.Table, *chain: str) -> list[Link]:
    """Return links from a patch in train over new patches, one after the other, to one in test."""
    return list(pairwise([_in(before, "train"), *chain, _in(before, "test")]))


def test_a_tenth_more_data_moves_no_patch(grown: Grown) -> None:
    label_of, links, before = grown
    new_of, new_links = {f"new{i:02}": LABELS[i % 2] for i in range(25)}, [("new00", "new01")]
    after = _split(label_of | new_of, links + new_links, before)
    assert _sides(before).items() <= _sides(after).items()
    assert _column(before, "group").items() <= _column(after, "group").items()
    assert LEFT_OUT not in _sides(after).values()
    counts = split_counts(after)
    for split in SPLITS:
        assert sum(counts[split].values()) == pytest.approx(275 * getattr(PARAMS, split), abs=3)


def test_the_same_data_again_gives_the_same_table(grown: Grown) -> None:
    label_of, links, before = grown
    assert _split(label_of, links, before).equals(before)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("count", [1, 3])
def test_new_patches_join_the_group_that_they_are_linked_with(
    grown: Grown, split: str, count: int
) -> None:
    label_of, links, before = grown
    known, new = _in(before, split), [f"new{i}" for i in range(count)]
    chain = [(b, a) for a, b in pairwise([known, *new])]
    after = _split(label_of | dict.fromkeys(new, CRACK), links + chain, before)
    assert {_sides(after)[id_] for id_ in new} == {split}
    assert {_column(after, "group")[id_] for id_ in new} == {_column(before, "group")[known]}


def test_new_patches_between_two_groups_of_one_split_join_one_of_them(grown: Grown) -> None:
    label_of, links, before = grown
    first, *_, last = (id_ for id_, side in _sides(before).items() if side == "test")
    after = _split({**label_of, "new": CRACK}, [*links, ("new", last), ("new", first)], before)
    assert _sides(after)["new"] == "test"
    assert _column(after, "group")["new"] == _column(before, "group")[first]


def test_new_patches_that_would_tie_two_splits_together_are_left_out(grown: Grown) -> None:
    label_of, links, before = grown
    new = dict.fromkeys(("new0", "new1", "new2", "new3"), CRACK)
    patches = {**label_of, **new, "other": CRACK}
    ties = [*_ties(before, "new0", "new1"), ("new2", "new1"), *_ties(before, "new3")]
    likeness = likeness_of(patches, links + ties)
    after = split_table(likeness, PARAMS, before)
    # One of the two that tie it together is enough, and what it was linked with stays.
    assert [id_ for id_ in new if _sides(after)[id_] == LEFT_OUT] == ["new1", "new3"]
    assert (_sides(after)["new0"], _sides(after)["new2"] in SPLITS) == ("train", True)
    assert _sides(after)["other"] in SPLITS
    assert _sides(before).items() <= _sides(after).items()
    assert _leaking(after, links + ties) == []
    assert _split(patches, links + ties, after).equals(after)
    report = split_report(after, likeness, PARAMS)
    assert (report["patches"], report["left_out"]) == (255, {NO_CRACK: 0, CRACK: 2})
    assert sum(sum(labels.values()) for labels in report["counts"].values()) == 253
    assert sum(report["shares"].values()) == pytest.approx(1, abs=0.001)
    assert report["leakage"]["this_split"] == {
        "same_picture_in_train": 0,
        "same_photograph_in_train": None,
    }


@pytest.mark.parametrize("salt", ["salt", "pepper", "mustard", "thyme"])
def test_the_shares_are_those_of_the_patches_in_use(salt: str) -> None:
    params = _salted(salt)
    known = dict.fromkeys(LABEL_OF, CRACK)
    before = _split(known, params=params)
    tie = [f"tie{i:02}" for i in range(90)]
    links = [link for one in tie for link in _ties(before, one)]
    new = {f"new{i:03}": CRACK for i in range(120)}
    after = _split(known | new | dict.fromkeys(tie, CRACK), links, before, params)
    assert {_sides(after)[id_] for id_ in tie} == {LEFT_OUT}
    counts = split_counts(after)
    for split in SPLITS:
        assert abs(counts[split][CRACK] - 520 * getattr(PARAMS, split)) < 2, split


def test_a_patch_that_was_left_out_ties_nothing_together_later(grown: Grown) -> None:
    label_of, links, before = grown
    ties = _ties(before, "new0")
    middle = _split({**label_of, "new0": CRACK}, links + ties, before)
    patches = {**label_of, "new0": CRACK, "new1": CRACK}
    after = _split(patches, [*links, *ties, ("new0", "new1")], middle)
    assert _sides(after)["new0"] == LEFT_OUT
    assert _sides(after)["new1"] in SPLITS
    assert _column(after, "group")["new1"] == "new1"


def test_patches_that_are_known_stay_apart_even_if_they_are_linked_now(grown: Grown) -> None:
    label_of, links, before = grown
    tie = (_in(before, "train"), _in(before, "test"))
    assert _split(label_of, [*links, tie], before).equals(before)


def test_a_new_label_moves_no_patch(grown: Grown) -> None:
    label_of, links, before = grown
    turned = {id_: LABELS[1 - LABELS.index(label)] for id_, label in label_of.items()}
    after = _split(turned, links, before)
    assert _sides(after) == _sides(before)
    assert _column(after, "label") == turned


def test_new_patches_make_up_for_what_a_split_lacks() -> None:
    before = _split(dict.fromkeys(LABEL_OF, CRACK))
    only_train = before.filter([side == "train" for side in before["split"].to_pylist()])
    label_of = dict.fromkeys(only_train["id"].to_pylist(), CRACK)
    new = {f"x{i:03}": CRACK for i in range(120)}
    counts = split_counts(_split(label_of | new, earlier=only_train))
    assert [counts[split][CRACK] for split in SPLITS] == [280, 60, 60]


def test_a_patch_that_comes_back_does_not_tear_the_group_that_bears_its_name() -> None:
    straddling = []
    for number in range(20):  # some of them are assigned to another split than their group
        trio = [f"{number:02}-{letter}" for letter in "abc"]
        chain = list(pairwise(trio))
        first = _split(LABEL_OF | dict.fromkeys(trio, CRACK), chain)
        second = _split({**LABEL_OF, trio[2]: CRACK}, earlier=first)
        third = _split({**LABEL_OF, trio[0]: CRACK, trio[2]: CRACK}, earlier=second)
        straddling += _straddling(third)
    assert straddling == []


def test_new_patches_of_a_photograph_never_stand_in_another_split_than_it() -> None:
    for number in range(20):  # some of them are assigned to another split than their photograph
        run = [f"run{number:02}-{i}" for i in range(3)]
        known = {**LABEL_OF, run[0]: CRACK}
        first = _split(known)
        here = _sides(first)[run[0]]
        elsewhere = next(id_ for id_ in LABEL_OF if _sides(first)[id_] != here)
        # The second patch of the photograph is a near-copy of one elsewhere: it is left out.
        tie = (run[1], elsewhere)
        second = split_table(_photographed(known, run[:2], [tie]), PARAMS, first)
        assert _sides(second)[run[1]] == LEFT_OUT
        # The third one follows on the second.
        third = split_table(_photographed(known, run, [tie]), PARAMS, second)
        assert _sides(third)[run[2]] in (here, LEFT_OUT)


def _photographed(known: Mapping[str, str], run: Sequence[str], links: Iterable[Link]) -> Likeness:
    """Return the likeness of patches of which some are known to be of one photograph."""
    label_of = {**known, **dict.fromkeys(run, CRACK)}
    likeness = likeness_of(label_of, links)
    place = [sorted(label_of).index(id_) for id_ in run]
    numbers = likeness.photographs.numbers.copy()
    numbers[place] = 0
    photographs = replace(likeness.photographs, numbers=numbers)
    return replace(likeness, photographs=photographs, tied=numbers == 0)


def _doubtful(links: Iterable[Link], patch: str, before: pa.Table | None) -> pa.Table:
    """Split patches of which one is too doubtful to tie what it is linked with."""
    likeness = likeness_of({**LABEL_OF, patch: CRACK}, links)
    left_out = np.array([id_ == patch for id_ in likeness.patches["id"].to_pylist()])
    return split_table(replace(likeness, left_out=left_out), PARAMS, before)


def test_a_doubtful_patch_is_let_in_where_all_that_it_is_linked_with_is_on_one_side() -> None:
    before = _split(LABEL_OF)
    one, other = [id_ for id_ in LABEL_OF if _sides(before)[id_] == "train"][:2]
    train, test = _in(before, "train"), _in(before, "test")
    assert _sides(_doubtful([("new", one), ("new", other)], "new", before))["new"] == "train"
    assert _sides(_doubtful([("new", train), ("new", test)], "new", before))["new"] == LEFT_OUT
    assert _sides(_doubtful([], "new", before))["new"] == LEFT_OUT


def test_a_doubtful_patch_ties_no_groups_together() -> None:
    before = _split(LABEL_OF)
    first, second = [id_ for id_ in LABEL_OF if _sides(before)[id_] == "train"][:2]
    after = _doubtful([("new", first), ("new", second)], "new", None)
    assert len({_column(after, "group")[id_] for id_ in (first, second)}) == 2


@dataclass(frozen=True)
class Story:
    """Patches and links, when each patch comes, and when it goes for good."""

    labels: Sequence[str]
    links: Sequence[tuple[int, int]]
    comes: Sequence[int]
    goes: Sequence[int]

    def at(self, step: int) -> tuple[dict[str, str], list[Link]]:
        """Return the patches that there are after a step, and the links between them."""
        # Names are no order of coming.
        names = [f"{(7 * i) % len(self.labels):02}" for i in range(len(self.labels))]
        there = [self.comes[i] <= step < self.goes[i] for i in range(len(names))]
        label_of = {names[i]: self.labels[i] for i in range(len(names)) if there[i]}
        links = [(names[i], names[j]) for i, j in self.links if there[i] and there[j]]
        return label_of, links


def _stories(size: int, steps: int) -> st.SearchStrategy[Story]:
    def each(values: st.SearchStrategy[int]) -> st.SearchStrategy[list[int]]:
        return st.lists(values, min_size=size, max_size=size)

    one = st.integers(0, size - 1)
    return st.builds(
        Story,
        labels=st.lists(st.sampled_from(LABELS), min_size=size, max_size=size),
        links=st.lists(st.tuples(one, one), max_size=2 * size),
        comes=each(st.integers(0, steps - 1)),
        goes=each(st.integers(1, 2 * steps)),
    )


@settings(max_examples=80, deadline=None)
@given(story=_stories(size=30, steps=4), salt=SALTS)
def test_whatever_comes_and_goes_no_patch_moves_and_nothing_new_leaks(
    story: Story, salt: str
) -> None:
    params, before = _salted(salt), None
    known: dict[str, str] = {}
    groups: dict[str, str] = {}
    for step in range(5):
        label_of, links = story.at(step)
        if not label_of:
            return
        table = _split(label_of, links, before, params)
        sides = _sides(table)
        assert set(sides.values()) <= {*SPLITS, LEFT_OUT}
        assert {id_: sides[id_] for id_ in known if id_ in sides}.items() <= known.items()
        assert all(_column(table, "group").get(id_, name) == name for id_, name in groups.items())
        assert _straddling(table) == []
        fresh = [(a, b) for a, b in links if not (a in known and b in known)]
        assert _leaking(table, fresh) == []
        # Nothing is left out without need.
        if before is None:
            assert LEFT_OUT not in sides.values()
        before, known, groups = table, sides, _column(table, "group")


# --- The table of the last split


def test_the_last_table_is_used_if_it_was_assigned_by_the_same_parameters(tmp_path: Path) -> None:
    table = _split(LABEL_OF)
    write_table(table, tmp_path / "splits.parquet")
    found = earlier_table(tmp_path / "splits.parquet", PARAMS)
    assert found is not None
    assert found.equals(table)


@pytest.mark.parametrize(
    "change",
    [
        {"salt": "pepper"},
        {"train": 0.6, "test": 0.25},
        {"near_copy_distance": 0.5},
        {"recrop_response": 0.5},
        {"overlap_correlation": 0.9},
        {"unit": "site"},
    ],
)
def test_a_table_of_other_parameters_is_not_used(
    tmp_path: Path, change: dict[str, float | str]
) -> None:
    write_table(_split(LABEL_OF), tmp_path / "splits.parquet")
    other = PARAMS.model_copy(update=change)
    assert earlier_table(tmp_path / "splits.parquet", other) is None


@pytest.mark.parametrize(
    ("without", "formerly"),
    [
        ({"unit", "max_group_patches", "overlap_correlation"}, {"run_change": 4.0}),
        ({"overlap_correlation"}, {}),
    ],
)
def test_a_table_from_before_there_were_some_of_the_parameters_is_used(
    tmp_path: Path, without: set[str], formerly: dict[str, float]
) -> None:
    table, path = _split(LABEL_OF), tmp_path / "splits.parquet"
    before = PARAMS.model_dump(exclude=without) | formerly
    write_table(table.replace_schema_metadata({ASSIGNED_BY: json.dumps(before)}), path)
    assert earlier_table(path, PARAMS) is not None
    assert earlier_table(path, PARAMS.model_copy(update={"unit": "site"})) is None


def test_a_table_that_is_missing_damaged_or_of_another_make_is_not_used(tmp_path: Path) -> None:
    path, table = tmp_path / "splits.parquet", _split(LABEL_OF)
    assert earlier_table(path, PARAMS) is None
    write_table(table, path)
    for content in (b"", b"no table", b"PAR1 cut short", path.read_bytes()[:-100]):
        path.write_bytes(content)
        assert earlier_table(path, PARAMS) is None, content[:20]
    for other in (table.drop_columns(["near_copies"]), table.replace_schema_metadata(None)):
        write_table(other, path)
        assert earlier_table(path, PARAMS) is None


# --- The report


def test_the_report_says_what_the_splits_hold_and_what_leaks() -> None:
    label_of, links = _grouped([1, 2, 3, 4] * 25)
    # A second file of the first patch; of one patch the photograph is not known.
    likeness = likeness_of(label_of, links)
    photos = np.unique(components(likeness.alike, 250), return_inverse=True)[1]
    photos[-1] = -1
    of_file = np.maximum(np.arange(251) - 1, 0)
    known = Photographs(of_file, photos[of_file], np.ones(251, bool))
    likeness = replace(likeness, photographs=known, tied=known.known)
    table = split_table(likeness, PARAMS, None)
    report = split_report(table, likeness, PARAMS)
    assert (report["patches"], report["copies_left_out"]) == (250, 1)
    assert report["left_out"] == {NO_CRACK: 0, CRACK: 0}
    assert (report["groups"], report["largest_group"]) == (100, 4)
    assert report["photographs_known"] == pytest.approx(250 / 251, abs=1e-5)
    found = [report["near_copies"], report["recrops"], report["overlaps"]]
    assert found == [0, len(links), 0]
    assert report["counts"] == split_counts(table)
    assert sum(sum(labels.values()) for labels in report["counts"].values()) == 250
    assert report["shares"] == pytest.approx(
        {"train": 0.7, "validation": 0.15, "test": 0.15}, abs=0.02
    )
    assert report["leakage"]["this_split"]["same_photograph_in_train"] == 0
    assert report["leakage"]["random_split"]["same_photograph_in_train"] > 0.3
