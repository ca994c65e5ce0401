"""Optuna: which combination a sweep tries next, and the result of each; shared by processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from cracks.errors import ParamsError, WeightsError, WorkspaceError
from cracks.system.atomic_files import remove
from cracks.training.sweep.search_space import Range, Space, all_combinations, combinations_of

if TYPE_CHECKING:
    import optuna

#: What a sweep goes by: the validation loss of a trial's best epoch.
OBJECTIVE = "val_loss"

#: Rows of losses and accuracies, one an epoch.
History = list[dict[str, float]]


@dataclass(frozen=True)
class Trial:
    """One combination. The numbers of a sweep run from 1 without a gap."""

    number: int
    values: Mapping[str, Any]  # of the varied keys
    state: Literal["running", "finished", "refused"] = "running"
    history: History = field(default_factory=list)  # of a finished one
    reason: str = ""  # of a refused one

    @property
    def best(self) -> dict[str, float]:
        """Return the epoch of the least validation loss; empty unless it is finished."""
        watched = [row for row in self.history if math.isfinite(row[OBJECTIVE])]
        return min(watched, key=lambda row: row[OBJECTIVE], default={})


class Sweep:
    """A search that is stored in a file, so that it resumes and processes share it.

    A process locks the file to read or change it, and the lock ends with the process. A running
    trial holds a lock of its own: where that is free the process was killed, and the trial is
    retried, with the same values and, where nothing else came between, from its last whole epoch.
    """

    def __init__(
        self, folder: Path, name: str, space: Space, identity: Mapping[str, Any], seed: int
    ) -> None:
        """Begin a sweep, or resume it.

        Args:
            folder: of all sweeps; made if there is none.
            name: of this one, without a slash and a dot at the beginning.
            space: what varies.
            identity: what its trials have in common (JSON), under names for error messages.
            seed: of the search itself.

        Raises:
            WorkspaceError: the sweep of this name is another one, or its file is damaged.
        """
        self.name, self.space, self.file = name, space, folder / f"{name}.log"
        self.identity = dict(identity)
        self._work, self._seed = folder / f".{name}", seed
        self._work.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._work / "turn.lock")
        self._running: dict[int, tuple[optuna.Trial, FileLock]] = {}
        with self.locked():
            self._study = self._opened()
            self._require_same(identity)

    def trials(self) -> list[Trial]:
        """Return the trials that are finished, refused or running, by number."""
        with self.locked():
            return [_trial_of(one) for one in self._counted()]

    def checkpoints(self, trial: Trial) -> Path:
        """Return the folder of what an unfinished trial has learned."""
        return self._work / f"{trial.number}.checkpoints"

    def begin(self, wanted: int) -> Trial | None:
        """Return the next trial, or None if `wanted` of them are done or being tried.

        Where there are only so many combinations, none is tried twice; `wanted` is not above them.
        """
        with self.locked():
            self._give_up_killed()
            taken = {_number(one) for one in self._counted()}
            if len(taken) >= wanted:
                return None
            number = next(n for n in range(1, wanted + 1) if n not in taken)
            lock = FileLock(self._work / f"{number}.lock")
            lock.acquire(timeout=0)
            asked, values = self._untried(number)
            self._running[number] = asked, lock
            return Trial(number, values)

    def finish(self, trial: Trial, history: History) -> Trial:
        """Store the result of a trial, at least one row of it with a finite `val_loss`."""
        finished = replace(trial, state="finished", history=history)
        with self._ending(trial) as asked:
            asked.set_user_attr("history", history)
            self._study.tell(asked, finished.best[OBJECTIVE])
        remove(self.checkpoints(trial))
        return finished

    def refuse(self, trial: Trial, reason: str) -> Trial:
        """Note that this combination cannot be trained."""
        import optuna

        with self._ending(trial) as asked:
            asked.set_user_attr("reason", reason)
            self._study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        remove(self.checkpoints(trial))
        return replace(trial, state="refused", reason=reason)

    def give_back(self, trial: Trial) -> None:
        """Let a trial that did not end be retried."""
        import optuna

        with self._ending(trial) as asked:
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the sweep: no other process changes anything meanwhile."""
        with self._lock:
            yield

    @contextmanager
    def _ending(self, trial: Trial) -> Iterator[optuna.Trial]:
        asked, lock = self._running.pop(trial.number)
        with self.locked():
            try:
                yield asked
            finally:
                lock.release()  # while the sweep is locked: the next process may take this number

    def _opened(self) -> optuna.Study:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        _drop_half_written_line(self.file)
        try:
            # Optuna's own lock of the file outlives a killed process by half a minute.
            backend = JournalFileBackend(str(self.file), _Unlocked())  # type: ignore[arg-type]
            return optuna.create_study(
                storage=JournalStorage(backend), study_name=self.name, load_if_exists=True
            )
        except (ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(
                f"{self.file} is damaged ({error}). Remove it, or choose another --name."
            ) from None

    def _require_same(self, identity: Mapping[str, Any]) -> None:
        known = self._study.user_attrs.get("identity")
        if known is None:
            self._study.set_user_attr("identity", dict(identity))
        elif known != identity:
            # What varies says it all; the keys that were fixed before follow from it.
            other = [name for name in identity if known.get(name) != identity[name]]
            other = ["varied keys"] if "varied keys" in other else other
            raise WorkspaceError(
                f"The sweep {self.name} was begun with other {' and '.join(other)}: its trials "
                f"cannot be compared with new ones. Choose another --name, or remove {self.file}."
            )

    def _counted(self) -> list[optuna.trial.FrozenTrial]:
        """Return the trials that were not given back, by number."""
        import optuna

        states = optuna.trial.TrialState
        return sorted(
            self._study.get_trials(
                deepcopy=False, states=(states.RUNNING, states.COMPLETE, states.PRUNED)
            ),
            key=_number,
        )

    def _give_up_killed(self) -> None:
        import optuna

        for one in self._counted():
            if one.state == optuna.trial.TrialState.RUNNING and self._is_abandoned(_number(one)):
                self._study.tell(one.number, state=optuna.trial.TrialState.FAIL)

    def _is_abandoned(self, number: int) -> bool:
        if number in self._running:
            return False
        with suppress(Timeout), FileLock(self._work / f"{number}.lock", timeout=0):
            return True
        return False

    def _untried(self, number: int) -> tuple[optuna.Trial, dict[str, Any]]:
        import optuna

        tried = [one.user_attrs.get("values") for one in self._counted()]
        asked, values = self._asked(number)
        if combinations_of(self.space) is None or values not in tried:
            return asked, values
        self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
        self._study.enqueue_trial(next(v for v in all_combinations(self.space) if v not in tried))
        return self._asked(number)

    def _asked(self, number: int) -> tuple[optuna.Trial, dict[str, Any]]:
        import optuna

        # Seeded by the number: the search does not depend on how often it was interrupted.
        self._study.sampler = optuna.samplers.TPESampler(seed=self._seed + number)
        asked = self._study.ask()
        asked.set_user_attr("number", number)
        values: dict[str, Any] = {}
        for key, tried in self.space.items():
            if not isinstance(tried, Range):
                values[key] = asked.suggest_categorical(key, tried.values)
            elif tried.whole:
                low, high = int(tried.low), int(tried.high)
                values[key] = asked.suggest_int(key, low, high, log=tried.logarithmic)
            else:
                found = asked.suggest_float(key, tried.low, tried.high, log=tried.logarithmic)
                values[key] = tried.rounded(found)
        asked.set_user_attr("values", values)
        return asked, values


class _Unlocked:
    """Stands for a lock where the file is locked already."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def run_trials(
    sweep: Sweep,
    wanted: int,
    learn: Callable[[Trial], History],
    tell: Callable[[Trial], None],
    wait: Callable[[], None],
) -> None:
    """Try combinations until `wanted` are finished or refused, by this and by other processes.

    Args:
        sweep: what is searched.
        wanted: how many trials it shall have.
        learn: trains one. What it raises ends the sweep, and the trial is retried next time,
            but for ParamsError and WeightsError, which refuse this combination.
        tell: called with each trial that this process ended.
        wait: is called where all that is left is being tried by other processes.
    """
    while True:
        trial = sweep.begin(wanted)
        if trial is None:
            if not any(one.state == "running" for one in sweep.trials()):
                return
            wait()
            continue
        try:
            history = learn(trial)
        except (ParamsError, WeightsError) as error:
            ended = sweep.refuse(trial, str(error))
        except BaseException:
            sweep.give_back(trial)
            raise
        else:
            ended = sweep.finish(trial, history)
        tell(ended)


def ranked(trials: list[Trial]) -> list[Trial]:
    """Return the finished trials, the least validation loss first."""
    finished = [trial for trial in trials if trial.state == "finished"]
    return sorted(finished, key=lambda trial: (trial.best[OBJECTIVE], trial.number))


def _trial_of(found: optuna.trial.FrozenTrial) -> Trial:
    states: dict[str, Literal["finished", "refused"]] = {
        "COMPLETE": "finished",
        "PRUNED": "refused",
    }
    attributes = found.user_attrs
    return Trial(
        _number(found),
        attributes.get("values", {}),
        states.get(found.state.name, "running"),
        attributes.get("history", []),
        attributes.get("reason", ""),
    )


def _number(found: optuna.trial.FrozenTrial) -> int:
    """Return the number of a trial; 0 if its process was killed before it had one."""
    return int(found.user_attrs.get("number", 0))


def _drop_half_written_line(file: Path) -> None:
    """Cut off the line that a process was writing when the machine stopped."""
    if file.is_file() and not (content := file.read_bytes()).endswith(b"\n"):
        with file.open("r+b") as opened:
            opened.truncate(content.rfind(b"\n") + 1)
