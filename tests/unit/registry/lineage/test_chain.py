"""Lineage: a list of patches that a run keeps, and a chain whose every broken link is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from cracks.inference.handover.prediction_id import PredictionId
from cracks.monitoring.prediction_log.schema import RecordedPrediction
from cracks.registry.lineage.chain import (
    Chain,
    Patch,
    RunFacts,
    find_patches,
    follow,
    patches_table,
)
from cracks.registry.lineage.restore import Difference, compare
from cracks.registry.mlflow_store.records import ModelVersion
from cracks.registry.tags import BUNDLE_TAG, COMMIT_TAG, DATA_TAG, DIRTY_TAG, LOCK_TAG, PATCHES_TAG

IDS = ["aa" * 32, "ab" * 32, "cd" * 32]
MANIFEST = pa.table(
    {
        "id": [IDS[2], IDS[0], IDS[1], IDS[0]],
        "source": ["site.zip", "site.zip", "mendeley", "mendeley"],
        "path": ["Negative/7.jpg", "Positive/2.jpg", "Positive/1.jpg", "Positive/1_1.jpg"],
        "label": ["no crack", "crack", "crack", "crack"],
        "shard": ["part-0"] * 4,
    }
)
SPLITS = pa.table(
    {
        "id": IDS,
        "label": ["crack", "crack", "no crack"],
        "group": [IDS[0], IDS[0], IDS[2]],
        "split": ["train", "left out", "test"],
    }
)
PATCHES = patches_table(MANIFEST, SPLITS)

TAGS = {
    COMMIT_TAG: "c" * 40,
    DIRTY_TAG: "false",
    LOCK_TAG: "1" * 64,
    DATA_TAG: "d" * 32 + ".dir",
    BUNDLE_TAG: "b" * 64,
}
RUN = RunFacts(
    "0" * 32,
    {**TAGS, PATCHES_TAG: "e" * 64, "mlflow.runName": "cnn-112px"},
    lock_digest="1" * 64,
    data_digest="d" * 32 + ".dir",
    bundle_digest="b" * 64,
    patches=PATCHES,
    patches_digest="e" * 64,
)
VERSION = ModelVersion("classifier", "3", RUN.run_id, ["champion"], {**TAGS, "verdict": "better"})
PREDICTION = PredictionId("3", "b" * 12, "aa" * 8, datetime(2026, 11, 21, 16, 14, 22, tzinfo=UTC))


def chain_of(
    run: RunFacts = RUN,
    version: ModelVersion | None = VERSION,
    prediction: PredictionId | None = PREDICTION,
    *,
    commit_is_here: bool = True,
    recorded: RecordedPrediction | None = None,
) -> Chain:
    return follow(run, version, prediction, commit_is_here=commit_is_here, recorded=recorded)


def said(chain: Chain, link: str) -> str:
    """Return what a link says of a chain that is whole."""
    assert chain.broken == []
    return next(one.says for one in chain.links if one.name == link)


# --- the list of patches --------------------------------------------------------------------------


def test_a_run_keeps_one_row_a_file_with_split_group_and_place_in_the_source() -> None:
    assert PATCHES.column_names == ["id", "label", "split", "group", "source", "path"]
    assert PATCHES.to_pylist()[:2] == [
        {
            "id": IDS[0],
            "label": "crack",
            "split": "train",
            "group": IDS[0],
            "source": source,
            "path": path,
        }
        for source, path in (("mendeley", "Positive/1_1.jpg"), ("site.zip", "Positive/2.jpg"))
    ]
    assert len(PATCHES) == len(MANIFEST)


def test_equal_data_gives_equal_lists_whatever_the_order_of_the_files() -> None:
    turned = MANIFEST.take(pa.array([3, 1, 0, 2]))
    assert patches_table(turned, SPLITS).equals(PATCHES)


def test_a_patch_is_found_by_its_first_digits_with_all_its_copies() -> None:
    (found,) = find_patches(PATCHES, "aa" * 8)
    assert found == Patch(
        IDS[0],
        "crack",
        "train",
        IDS[0],
        ("Positive/1_1.jpg of mendeley", "Positive/2.jpg of site.zip"),
    )
    assert [patch.id for patch in find_patches(PATCHES, "a")] == IDS[:2]
    assert find_patches(PATCHES, "f" * 16) == []


# --- a whole chain --------------------------------------------------------------------------------


def test_a_whole_chain_leads_from_the_prediction_to_the_patch() -> None:
    chain = chain_of()
    assert chain.broken == []
    assert [link.name for link in chain.links] == [
        "answer",
        "version",
        "bundle",
        "run",
        "commit",
        "dvc.lock",
        "data",
        "patches",
        "image",
    ]
    assert chain.patch is not None
    assert (chain.patch.id, chain.patch.split, chain.patch.label) == (IDS[0], "train", "crack")
    assert "train, crack" in chain.links[-1].says


def test_an_image_that_is_not_in_the_data_breaks_nothing() -> None:
    chain = chain_of(prediction=replace(PREDICTION, image="f" * 16))
    assert chain.patch is None
    assert "neither trained, validated nor tested" in said(chain, "image")


def test_the_data_is_counted_by_split() -> None:
    assert said(chain_of(), "patches") == "4 files, 3 distinct: 1 train, 1 test, 1 left out"


def test_a_run_that_was_refused_says_why_there_is_no_version() -> None:
    refused = replace(RUN, tags={**RUN.tags, "verdict": "refused", "verdict.reason": "too small"})
    chain = chain_of(refused, version=None, prediction=None)
    assert said(chain, "run") == "cnn-112px; no version: refused (too small)"


def test_a_changed_workspace_is_told_of() -> None:
    tags = {DIRTY_TAG: "true"}
    chain = chain_of(
        replace(RUN, tags={**RUN.tags, **tags}),
        version=replace(VERSION, tags={**VERSION.tags, **tags}),
    )
    assert "the workspace had been changed" in said(chain, "commit")


def test_a_run_older_than_the_lists_of_patches_is_no_brokenchain_of() -> None:
    old = replace(RUN, tags=TAGS, patches=None, patches_digest=None)
    assert said(chain_of(old), "patches") == "this run is older than the lists of patches"


# --- broken links ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "link", "reason"),
    [
        ({"bundle_digest": None}, "bundle", "the run keeps no bundle"),
        ({"bundle_digest": "7" * 64}, "bundle", "the bundle that the run keeps has 777777777777…"),
        ({"lock_digest": None}, "dvc.lock", "the run keeps no dvc.lock"),
        ({"lock_digest": "7" * 64}, "dvc.lock", "the dvc.lock that the run keeps has 7777"),
        ({"data_digest": "7" * 32 + ".dir"}, "data", "dvc.lock says 77"),
        ({"data_digest": None}, "data", "dvc.lock says nothing of data/images"),
        ({"patches_digest": "7" * 64}, "patches", "the list of patches that the run keeps has 77"),
        ({"patches": None, "patches_digest": None}, "patches", "the run keeps no list of patches"),
    ],
)
def test_what_the_run_keeps_must_be_what_was_registered(
    changes: dict[str, Any], link: str, reason: str
) -> None:
    (broken,) = chain_of(replace(RUN, **changes)).broken
    assert broken.startswith(f"{link}: {reason}")


def test_a_prediction_of_another_bundle_is_named() -> None:
    (broken,) = chain_of(prediction=replace(PREDICTION, bundle="7" * 12)).broken
    assert broken == (
        "bundle: the prediction is of bundle 777777777777…, the registered one is bbbbbbbbbbbb…"
    )


@pytest.mark.parametrize("tag", [COMMIT_TAG, LOCK_TAG, DATA_TAG, BUNDLE_TAG])
def test_a_tag_that_was_changed_or_is_missing_everywhere_is_named(tag: str) -> None:
    changed = replace(VERSION, tags={**VERSION.tags, tag: "7" * 64})
    assert any(f"run: its tag {tag} is" in reason for reason in chain_of(version=changed).broken)
    kept = {key: value for key, value in TAGS.items() if key != tag}
    chain = chain_of(replace(RUN, tags=kept), version=replace(VERSION, tags=kept))
    assert any(f"there is no tag {tag}" in reason for reason in chain.broken)


def test_a_version_registered_by_hand_is_broken_at_its_bundle() -> None:
    by_hand = chain_of(RunFacts("0" * 32, {}), version=replace(VERSION, tags={}))
    assert "it was not registered by `cracks`" in by_hand.broken[0]


def test_a_commit_that_is_not_here_is_named_with_the_remedy() -> None:
    (broken,) = chain_of(commit_is_here=False).broken
    assert broken == "commit: this repository does not have it. `git fetch --all`"


def test_a_run_that_is_gone_is_named_and_the_version_still_tells_what_it_can() -> None:
    chain = chain_of(RunFacts("0" * 32, refusal="No run 0000."))
    assert chain.broken == ["run: No run 0000."]
    assert {link.name: link.value for link in chain.links}["commit"] == "c" * 40


def test_two_patches_with_the_same_digits_are_not_taken_for_one() -> None:
    twins = pa.concat_tables(
        [PATCHES, PATCHES.set_column(0, "id", pa.array([f"{'aa' * 8}{'0' * 48}"] * 4))]
    )
    (broken,) = chain_of(replace(RUN, patches=twins)).broken
    assert broken == "image: 2 patches have the same 16 digits"


# --- numbers of a restored workspace --------------------------------------------------------------


def test_equal_numbers_leave_no_difference_and_last_bits_neither() -> None:
    recorded = {"test.accuracy": 0.9667, "test.patches": 450.0, "nothing": float("nan")}
    now = {**recorded, "test.accuracy": 0.9667 + 1e-9}
    assert compare(sorted(recorded), recorded, now) == []


def test_other_and_missing_numbers_are_differences() -> None:
    found = compare(["a", "b", "c"], {"a": 0.5, "b": 1.0}, {"a": 0.51, "c": 2.0})
    assert found == [
        Difference("a", 0.5, 0.51),
        Difference("b", 1.0, None),
        Difference("c", None, 2.0),
    ]
