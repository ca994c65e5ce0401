"""Checkpoints of an unfinished training, written after every epoch."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from cracks.system.atomic_files import atomic_replace

Weights = list[npt.NDArray[Any]]


@dataclass
class TrainingState:
    """How far a training has come."""

    history: list[dict[str, float]] = field(default_factory=list)  # a row an epoch
    best_loss: float = float("inf")  # least validation loss
    best: Weights = field(default_factory=list)  # the weights that had it
    worse: int = 0  # epochs since then
    finished: bool = False


class Checkpoint:
    """One training's place on disk; what another training left there is not used."""

    def __init__(self, path: Path, key: str) -> None:
        """Take the file, and the key of this training: a digest of all it reads."""
        self._path, self._key = path, key

    def save(self, model: keras.Model, state: TrainingState) -> None:
        """Write the model, its optimizer, and the state atomically."""
        facts = {
            "key": self._key,
            "history": state.history,
            "best_loss": state.best_loss,
            "worse": state.worse,
            "finished": state.finished,
        }
        arrays = {
            **_numbered("now", [np.asarray(one) for one in _variables(model)]),
            **_numbered("best", state.best),
        }
        with atomic_replace(self._path) as partial, partial.open("wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]

    def restore(self, model: keras.Model) -> TrainingState:
        """Put the model and its optimizer back to where they were; return the state.

        Args:
            model: compiled, with the optimizer built.
        """
        try:
            with np.load(self._path, allow_pickle=False) as saved:
                facts = json.loads(str(saved["facts"]))
                if facts.pop("key") != self._key:
                    return TrainingState()
                now, best = _in_order(saved, "now"), _in_order(saved, "best")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return TrainingState()  # none, or damaged: the training starts over
        for variable, value in zip(_variables(model), now, strict=True):
            variable.assign(value)
        return TrainingState(best=best, **facts)


def _variables(model: keras.Model) -> list[keras.Variable]:
    # Not `variables`: it holds what the metrics count, which exists only once they have counted.
    return [*model.weights, *model.optimizer.variables]


def _numbered(name: str, arrays: Weights) -> dict[str, npt.NDArray[Any]]:
    return {f"{name}_{number:05d}": array for number, array in enumerate(arrays)}


def _in_order(saved: Any, name: str) -> Weights:
    return [saved[key] for key in sorted(saved.files) if key.startswith(f"{name}_")]
