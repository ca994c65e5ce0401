"""A sweep resumes where it was, shares its trials, and is never mixed with another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cracks.errors import ParamsError, WeightsError, WorkspaceError
from cracks.training.sweep.search_space import Choice, Range, Space
from cracks.training.sweep.study import History, Sweep, Trial, ranked, run_trials

SPACE: Space = {
    "train.learning_rate": Range(0.001, 0.1),
    "train.epochs": Range(1, 9),
    "train.mode": Choice(("probe", "scratch")),
}
IDENTITY = {"data": "abc", "train.seed": 7}


def open_sweep(
    folder: Path,
    name: str = "one",
    space: Space = SPACE,
    identity: Mapping[str, Any] = IDENTITY,
) -> Sweep:
    return Sweep(folder, name, space, identity, seed=7)


def _history(*losses: float) -> History:
    return [{"epoch": float(epoch), "val_loss": loss} for epoch, loss in enumerate(losses, start=1)]


def learn_by_rate(trial: Trial) -> History:
    """Learn best at a rate of 0.01."""
    return _history(1.0, abs(trial.values["train.learning_rate"] - 0.01))


def run_sweep(
    sweep: Sweep, wanted: int, learn: Callable[[Trial], History] = learn_by_rate
) -> list[Trial]:
    def wait() -> None:
        pytest.fail("there is no other process to wait for")

    run_trials(sweep, wanted, learn, lambda _: None, wait)
    return sweep.trials()


def test_a_sweep_has_the_wanted_trials_each_within_its_space(tmp_path: Path) -> None:
    trials = run_sweep(open_sweep(tmp_path), 6)
    assert [trial.number for trial in trials] == [1, 2, 3, 4, 5, 6]
    for trial in trials:
        assert trial.state == "finished"
        assert list(trial.values) == list(SPACE)
        assert 0.001 <= trial.values["train.learning_rate"] <= 0.1
        assert trial.values["train.epochs"] in range(1, 10)
        assert trial.values["train.mode"] in ("probe", "scratch")
    assert len({tuple(trial.values.values()) for trial in trials}) == 6


def test_as_many_rates_are_tried_up_to_the_middle_of_a_logarithmic_range_as_above(
    tmp_path: Path,
) -> None:
    rates = [one.values["train.learning_rate"] for one in run_sweep(open_sweep(tmp_path), 10)]
    assert 3 <= sum(rate < 0.01 for rate in rates) <= 7  # of evenly spread ones, one


def test_the_best_trial_is_that_of_the_least_validation_loss(tmp_path: Path) -> None:
    losses = iter([[0.5, 0.2, 0.4], [0.3, 0.1], [float("nan"), 0.15]])
    trials = run_sweep(open_sweep(tmp_path), 3, lambda _: _history(*next(losses)))
    best_first = ranked(trials)
    assert [trial.number for trial in best_first] == [2, 3, 1]
    assert [trial.best["val_loss"] for trial in best_first] == [0.1, 0.15, 0.2]
    assert [trial.best["epoch"] for trial in best_first] == [2, 2, 2]


def test_the_search_finds_better_rates_than_it_began_with(tmp_path: Path) -> None:
    trials = run_sweep(open_sweep(tmp_path), 40)
    assert ranked(trials)[0].best["val_loss"] < 0.0005
    late = [trial.best["val_loss"] for trial in trials[20:]]
    assert sum(late) / len(late) < sum(t.best["val_loss"] for t in trials[:10]) / 10


def test_the_same_command_again_goes_on_and_tries_nothing_twice(tmp_path: Path) -> None:
    at_once = run_sweep(open_sweep(tmp_path, "at once"), 14)
    for wanted in (3, 3, 12, 14):
        in_parts = run_sweep(open_sweep(tmp_path, "in parts"), wanted)
    assert in_parts == at_once
    assert run_sweep(open_sweep(tmp_path, "in parts"), 2) == at_once


def test_a_trial_that_was_broken_off_is_tried_again_with_the_same_values(tmp_path: Path) -> None:
    undisturbed = run_sweep(open_sweep(tmp_path, "undisturbed"), 5)
    learned: list[int] = []

    def break_off(trial: Trial) -> History:
        if trial.number == 3:
            raise KeyboardInterrupt
        learned.append(trial.number)
        return learn_by_rate(trial)

    with pytest.raises(KeyboardInterrupt):
        run_sweep(open_sweep(tmp_path), 5, break_off)
    assert [trial.number for trial in open_sweep(tmp_path).trials()] == [1, 2]
    assert run_sweep(open_sweep(tmp_path), 5) == undisturbed
    assert learned == [1, 2]


def test_a_line_that_was_half_written_when_the_machine_stopped_is_left_out(tmp_path: Path) -> None:
    undisturbed = run_sweep(open_sweep(tmp_path, "undisturbed"), 4)
    sweep = open_sweep(tmp_path)
    run_sweep(sweep, 3)
    sweep.file.write_bytes(sweep.file.read_bytes() + b'{"op_code":4,"wor')
    assert run_sweep(open_sweep(tmp_path), 4) == undisturbed


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.log").write_text("no journal\nat all\n")
    with pytest.raises(WorkspaceError, match=r"one\.log is damaged"):
        open_sweep(tmp_path)


def test_what_runs_elsewhere_is_neither_tried_nor_given_up(tmp_path: Path) -> None:
    here, there = open_sweep(tmp_path), open_sweep(tmp_path)
    first, second = here.begin(3), there.begin(3)
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == (1, 2)
    assert first.values != second.values
    third = here.begin(3)
    assert third is not None
    assert here.begin(3) is there.begin(3) is None

    there.give_back(second)
    again = here.begin(3)
    assert again is not None
    assert again.number == 2
    for trial in (first, third, again):
        here.finish(trial, _history(0.5))
    assert [trial.state for trial in there.trials()] == ["finished"] * 3


def test_a_process_waits_for_the_last_trials_of_others(tmp_path: Path) -> None:
    here, there = open_sweep(tmp_path), open_sweep(tmp_path)
    other = there.begin(1)
    assert other is not None
    waited: list[str] = []

    def wait() -> None:
        waited.append("once")
        there.finish(other, _history(0.5))

    run_trials(here, 1, learn_by_rate, lambda _: None, wait)
    assert waited == ["once"]
    assert [trial.state for trial in here.trials()] == ["finished"]


@pytest.mark.parametrize("kind", [ParamsError, WeightsError])
def test_a_combination_that_cannot_be_trained_counts_with_its_reason(
    tmp_path: Path, kind: type[Exception]
) -> None:
    def learn(trial: Trial) -> History:
        if trial.number == 2:
            raise kind("these do not go together")
        return learn_by_rate(trial)

    trials = run_sweep(open_sweep(tmp_path), 3, learn)
    assert [trial.state for trial in trials] == ["finished", "refused", "finished"]
    assert trials[1].reason == "these do not go together"
    assert [trial.number for trial in ranked(trials)] != [2]
    assert len(ranked(trials)) == 2


@pytest.mark.parametrize(
    ("space", "identity", "named"),
    [
        (SPACE, IDENTITY | {"data": "other"}, "other data:"),
        (SPACE, IDENTITY | {"train.seed": 8}, "other train.seed:"),
        (SPACE, {"data": "other", "train.seed": 8}, "other data and train.seed:"),
        (SPACE, IDENTITY | {"varied keys": ["more"]}, "other varied keys:"),
    ],
)
def test_another_sweep_under_a_known_name_is_refused(
    tmp_path: Path, space: Space, identity: Mapping[str, Any], named: str
) -> None:
    before = run_sweep(open_sweep(tmp_path), 2)
    with pytest.raises(WorkspaceError, match=rf"begun with {named}.* another --name"):
        open_sweep(tmp_path, space=space, identity=identity)
    assert run_sweep(open_sweep(tmp_path), 2) == before
    assert run_sweep(open_sweep(tmp_path, "two", space, identity), 1)


def test_of_a_few_combinations_each_is_tried_once(tmp_path: Path) -> None:
    few: Space = {"train.epochs": Range(1, 3), "train.mode": Choice(("probe", "scratch"))}
    trials = run_sweep(open_sweep(tmp_path, space=few), 6, lambda _: _history(0.5))
    assert len({tuple(trial.values.values()) for trial in trials}) == 6
