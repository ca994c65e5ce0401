"""Monitoring: drift is seen soon, nothing else gives an alarm, no prediction is judged twice."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cracks.errors import BundleError
from cracks.inference.handover.champion import name_champion, stage_bundle
from cracks.monitoring.drift.evidence import e_value, gathered, needed_for
from cracks.monitoring.drift.null_distribution import NullDistribution, p_value
from cracks.monitoring.drift.reference import choose_reference, read_reference, write_patches
from cracks.monitoring.drift.window_sums import ReferenceMetric, WindowSums
from cracks.monitoring.history import (
    Signal,
    SignalName,
    Window,
    place_of_monitoring,
    read_live_accuracy,
    read_windows,
    write_window,
)
from cracks.monitoring.prediction_log.schema import as_table
from cracks.monitoring.request_counts import RequestCounts, counted_requests
from cracks.system.hashing import digest_of_bytes
from tests.unit.builders import champion_of, sealed_bundle
from tests.unit.monitored import (
    HOUR,
    NOON,
    SECTION,
    neighbours,
    predictions_in,
    put_in_service,
    record,
    reference,
    sketches,
    watched,
)

LATE = timedelta(minutes=6)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Each test draws the same predictions, whichever tests were before it.
    monkeypatch.setattr("tests.unit.monitored._numbers", itertools.count(1))
    put_in_service(tmp_path / "service")
    return tmp_path / "service"


def watch_hours(service: Path, hours: int, *, begin: int = 0, **changes: Any) -> list[Window]:
    """Return the windows of some hours, each looked at when it is over."""
    windows = []
    for number in range(begin, begin + hours):
        record(service, predictions_in(NOON + number * HOUR, **changes))
        windows += watched(service, NOON + (number + 1) * HOUR + LATE)
    return windows


def signal(window: Window, name: SignalName) -> Signal:
    found = window.signal(name)
    assert found is not None
    return found


# --- evidence -------------------------------------------------------------------------------------


def test_a_bet_wins_nothing_on_the_average_while_nothing_has_changed() -> None:
    p_values = np.arange(1, 1001) / 1000
    assert np.mean([e_value(p) for p in p_values]) <= 1
    values = [e_value(p) for p in p_values]
    assert values == sorted(values, reverse=True)


def test_an_alarm_of_one_percent_needs_two_windows_that_could_be_measured() -> None:
    needed = needed_for(0.01)
    assert needed is not None
    once = gathered(1.0, 1e-9)
    assert gathered(once, None) == once < needed < gathered(once, 1e-9)


def test_p_values_of_windows_like_the_reference_are_not_too_small() -> None:
    held_out = reference()
    reference_metric = ReferenceMetric.of(held_out)
    null_distribution = NullDistribution(held_out, reference_metric, held_out.scores >= 0.5)
    drawn = null_distribution.drawn(60, 60)
    windows = (reference_metric.distances(sketches(60, seed)) for seed in range(100, 300))
    shares = [float((distances > reference_metric.far).mean()) for distances in windows]
    p_values = np.array([p_value(share, drawn.embedding) for share in shares])
    for level in (0.01, 0.05, 0.2):
        # Three standard deviations of a share of 200.
        assert np.mean(p_values <= level) <= level + 3 * np.sqrt(level * (1 - level) / 200)


def test_the_expected_share_of_cracks_is_for_the_parameters_to_say() -> None:
    held_out = reference()
    reference_metric, called = ReferenceMetric.of(held_out), held_out.scores >= 0.5
    usual = NullDistribution(held_out, reference_metric, called)
    few = NullDistribution(held_out, reference_metric, called, 0.1)
    assert 0.05 < few.crack_share < 0.2 < usual.crack_share
    assert np.mean(few.drawn(60, 60).crack_share) == pytest.approx(few.crack_share, abs=0.02)


# --- windows --------------------------------------------------------------------------------------


def test_predictions_like_the_reference_give_no_alarm(service: Path) -> None:
    windows = watch_hours(service, 30)
    assert [one.judged for one in windows] == [True] * 30
    assert not [one.fired for one in windows if one.fired]


def test_a_fifth_of_another_material_gives_an_alarm_within_three_windows(service: Path) -> None:
    assert not any(one.fired for one in watch_hours(service, 3))
    windows = watch_hours(service, 3, strange=0.2, begin=3)
    first = next(one for one in windows if one.fired)
    assert "embedding" in first.fired
    assert first.asked_for_training
    assert first.reason.startswith("drift against version 1 in 2026-11-21 1")
    assert "embedding" in first.reason
    assert len(first.movers) == 8
    assert all(one.nearest_id in neighbours().ids for one in first.movers)


def test_a_training_is_asked_for_once_until_the_cool_down_is_over(service: Path) -> None:
    windows = watch_hours(service, 28, strange=0.5)
    asked = [one for one in windows if one.asked_for_training]
    assert len(asked) == 2
    assert asked[1].end - asked[0].end >= timedelta(hours=SECTION.cool_down_hours)
    assert sum(bool(one.fired) for one in windows) > 10


def test_what_only_shows_asks_for_no_training(service: Path) -> None:
    windows = watch_hours(service, 3, milliseconds=9000.0)
    assert "latency" in windows[1].fired
    assert not any(one.asked_for_training or one.reason for one in windows)


def test_an_empty_window_gives_no_alarm_and_loses_nothing(service: Path) -> None:
    record(service, predictions_in(NOON, 20, strange=1.0))
    (first,) = watched(service, NOON + HOUR + LATE)
    (second,) = watched(service, NOON + 2 * HOUR + LATE)
    assert (first.judged, first.answers, first.fired) == (False, 20, ())
    assert (second.judged, second.answers, second.begin) == (False, 20, first.begin)
    record(service, predictions_in(NOON + 2 * HOUR, 40))
    (third,) = watched(service, NOON + 3 * HOUR + LATE)
    assert (third.judged, third.answers, third.begin) == (True, 60, first.begin)
    assert read_windows(place_of_monitoring(service), 9) == [third]


def test_nothing_was_ever_answered(service: Path) -> None:
    assert watched(service, NOON) == []
    accuracy = read_live_accuracy(place_of_monitoring(service))
    assert accuracy is not None
    assert accuracy.labelled == 0


def test_hours_that_were_missed_are_made_up_for_and_none_is_judged_twice(service: Path) -> None:
    for number in range(3):
        record(service, predictions_in(NOON + number * HOUR))
    windows = watched(service, NOON + 3 * HOUR + LATE)
    assert [one.answers for one in windows if one.judged] == [60] * 3
    clock_set_back = NOON - 5 * HOUR
    for now in (NOON + 3 * HOUR + LATE, clock_set_back):
        assert watched(service, now) == []
    assert read_windows(place_of_monitoring(service), 9) == windows


def test_a_part_cut_short_is_named_and_the_others_count(service: Path) -> None:
    cut = record(service, predictions_in(NOON))
    cut.write_bytes(cut.read_bytes()[:-100])
    record(service, predictions_in(NOON, 70))
    (window,) = watched(service, NOON + HOUR + LATE)
    assert (window.judged, window.answers, window.fired) == (True, 70, ())
    assert cut.name in window.skipped[0]


def test_predictions_of_a_clock_that_is_ahead_wait_for_their_hour(service: Path) -> None:
    record(service, predictions_in(NOON + HOUR, 55))
    record(service, predictions_in(NOON, 60))
    (first,) = watched(service, NOON + HOUR + LATE)
    (second,) = watched(service, NOON + 2 * HOUR + LATE)
    assert (first.answers, second.answers) == (60, 55)


def test_one_request_with_a_wall_is_one_piece_of_evidence(service: Path) -> None:
    kind = np.float32(sketches(1, 9)[0])
    for number in range(4):
        hour = NOON + number * HOUR
        record(service, predictions_in(hour, time=hour, sketch=kind, label="crack", score=0.95))
        (window,) = watched(service, hour + HOUR + LATE)
        assert not {"embedding", "crack_share"} & set(window.fired)


def test_predictions_of_another_version_are_not_compared(service: Path) -> None:
    (window,) = watch_hours(service, 1, strange=1.0, model_version="7")
    embedding = signal(window, "embedding")
    assert (window.answers, embedding.value, embedding.evidence) == (60, None, 1.0)
    assert "too few" in embedding.says


def test_evidence_begins_anew_with_another_champion(service: Path) -> None:
    (before,) = watch_hours(service, 1, strange=0.5)
    put_in_service(service, "2")
    (after,) = watch_hours(service, 1, begin=1, strange=0.5, model_version="2")
    one, other = signal(before, "embedding"), signal(after, "embedding")
    assert one.evidence == other.evidence > 10
    assert not after.fired


def test_a_bundle_of_an_earlier_release_is_refused_with_the_remedy(
    service: Path, tmp_path: Path
) -> None:
    bundle = sealed_bundle(tmp_path / "old")
    name_champion(service, champion_of("4", bundle.digest, stage_bundle(service, bundle, "4")))
    with pytest.raises(BundleError, match=r"no reference to compare .* `cracks train` makes"):
        watched(service, NOON)


# --- what is kept ---------------------------------------------------------------------------------


def test_sums_do_not_depend_on_how_the_predictions_come() -> None:
    held_out = reference()
    reference_metric = ReferenceMetric.of(held_out)
    table = as_table(predictions_in(NOON, 200, strange=0.3))
    found = []
    for size in (200, 7):
        sums = WindowSums(reference_metric, "1", 500)
        sums.add_all(table.slice(start, size) for start in range(0, 200, size))
        found.append(sums)
    whole, pieces = found
    assert (whole.answers, whole.novel, whole.cracked) == (200, pieces.novel, pieces.cracked)
    assert (whole.far, whole.sketched) == (pieces.far, 200)
    np.testing.assert_array_equal(whole.below, pieces.below)
    ids = [[facts["prediction_id"] for _, facts in one.farthest] for one in found]
    assert ids[0] == ids[1]


def test_a_reference_comes_back_as_it_was(tmp_path: Path) -> None:
    held_out = reference()
    write_patches(held_out, tmp_path / "one.parquet")
    write_patches(held_out, tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    back = read_reference(tmp_path / "one.parquet")
    assert back.ids == held_out.ids
    np.testing.assert_array_equal(back.groups, held_out.groups)
    np.testing.assert_allclose(back.sketches, held_out.sketches, atol=0.01)


def test_a_large_photograph_counts_in_the_reference_for_as_much_as_it_has_patches() -> None:
    """A group is named after its smallest id, so large ones come first by name."""
    ids = [digest_of_bytes(f"patch {number}".encode()) for number in range(4000)]
    large, alone = ids[:1000], ids[1000:]
    chosen = choose_reference(
        ids,
        [min(large)] * 1000 + alone,
        np.arange(4000) < 1000,
        np.zeros(4000),
        np.zeros(4000, bool),
        np.zeros((4000, 64), np.float32),
        most=1000,
    )
    assert len(chosen) == 1000
    assert 210 < chosen.cracked.sum() < 290  # a quarter, and three standard deviations
    assert len(np.unique(chosen.groups[chosen.cracked])) == 1
    assert set(chosen.ids) == set(sorted(ids)[:1000])


def test_a_damaged_line_of_the_history_is_passed_over(service: Path) -> None:
    windows = watch_hours(service, 3)
    place = place_of_monitoring(service)
    (file,) = Path(place, "windows").iterdir()
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(lines[0] + lines[1][:50] + "\n" + lines[2])
    assert read_windows(place, 9) == [windows[0], windows[2]]
    write_window(place, windows[1])
    assert read_windows(place, 9) == windows
    assert read_windows(place, 2) == windows[1:]


def test_failed_requests_are_counted_by_the_hour_over_all_processes(service: Path) -> None:
    place = place_of_monitoring(service)
    for _ in range(2):
        counts = RequestCounts(place)
        for minute in range(100):
            counts.count(503 if minute < 20 else 200, NOON + timedelta(seconds=minute))
        counts.count(500, NOON + HOUR)
        counts.write()
        counts.write()
    found = counted_requests(service, NOON, NOON + HOUR)
    assert found is not None
    assert (found.wrong, found.total) == (40, 200)
    assert counted_requests(service, NOON - HOUR, NOON) is None
    windows = watch_hours(service, 2)
    assert windows[0].requests == 200
    assert signal(windows[0], "errors").value == 0.2


def test_counts_that_cannot_be_written_are_written_later(tmp_path: Path) -> None:
    place = tmp_path / "monitoring"
    place.touch()
    counts = RequestCounts(place)
    counts.count(200, NOON)
    counts.write()
    place.unlink()
    counts.write()
    assert len(list(place.rglob("*.json"))) == 1
