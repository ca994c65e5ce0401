"""The modes of training: the head alone, then more of the backbone, or everything from scratch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from cracks.inference.runtime.openvino_runtime import open_network
from cracks.system.console import progress
from cracks.system.hashing import digest_of_file, digest_of_value
from cracks.training.features.arrays import FeatureRows
from cracks.training.features.store import INDEX
from cracks.training.networks.architectures import (
    HEAD,
    build_backbone,
    build_head,
    build_whole,
    unfreeze,
)
from cracks.training.networks.checkpoints import Checkpoint
from cracks.training.networks.devices import Devices, building_for
from cracks.training.networks.fit import Examples, Plan, fit, restore_crack_share
from cracks.training.networks.halves import store_half
from cracks.training.networks.weights import digest_of_weights
from cracks.workspace.params import Params
from cracks.workspace.stage_reports import EpochsReport

#: Pixels of patches that the frozen backbone gets at once.
BATCH_SIZE = 8


@dataclass(frozen=True)
class Learner:
    """Trains the half of the classifier that is trained."""

    params: Params
    devices: Devices
    train: Examples
    validation: Examples
    checkpoints: Path  # folder
    key: str  # a digest of all that the training reads

    def learn(self) -> tuple[keras.Model, list[dict[str, float]]]:
        """Return the trained half, computing in float32, and a row an epoch.

        Its scores are probabilities where cracks are as frequent as in `train`.

        Raises:
            WeightsError: the weights cannot be loaded.
            ParamsError: the layer to fine-tune from does not exist.
        """
        modes = {"probe": self._probe, "scratch": self._scratch, "finetune": self._finetune}
        trained, history = modes[self.params.mode]()
        restore_crack_share(trained, self.train.crack_share)
        return trained, history

    def _probe(self) -> tuple[keras.Model, list[dict[str, float]]]:
        channels = self.train.features.shape[0]
        return self._fit(lambda: self._head(channels), self.train, self.validation, self._plan())

    def _scratch(self) -> tuple[keras.Model, list[dict[str, float]]]:
        def build() -> keras.Model:
            backbone = build_backbone(self.params.featurize)
            return build_whole(backbone, self._head(backbone.output_shape[-1]))

        return self._fit(build, self.train, self.validation, self._plan(augmented=True))

    def _finetune(self) -> tuple[keras.Model, list[dict[str, float]]]:
        """Train the head on the frozen backbone, then both from a layer of it on.

        Source: Keras guide "Transfer learning & fine-tuning", whose two phases the notebooks use.
        """
        section = self.params.train.finetune

        def build() -> keras.Model:
            backbone = build_backbone(self.params.featurize)
            unfreeze(backbone, self.params.featurize.architecture, section.from_layer)
            return build_whole(backbone, self._head(backbone.output_shape[-1]))

        build()  # refuses before anything is learned
        head, before = self._frozen_head()

        def build_on_head() -> keras.Model:
            whole = build()
            whole.get_layer(HEAD).set_weights(head.get_weights())
            return whole

        plan = self._plan(
            augmented=True, epochs=section.epochs, learning_rate=section.learning_rate
        )
        whole, after = self._fit(build_on_head, self.train, self.validation, plan)
        return whole, before + [row | {"epoch": row["epoch"] + len(before)} for row in after]

    def _frozen_head(self) -> tuple[keras.Model, list[dict[str, float]]]:
        backbone = build_backbone(self.params.featurize)
        with tempfile.TemporaryDirectory(prefix="cracks-") as place:
            folder = Path(place) / "backbone"
            store_half(backbone, folder, "f32", next(self.train.features.batches(BATCH_SIZE)))
            learned, watched = (
                Examples(_features_of(part.features, folder), part.labels)
                for part in (self.train, self.validation)
            )
        channels = backbone.output_shape[-1]
        return self._fit(lambda: self._head(channels), learned, watched, self._plan("head"))

    def _fit(
        self, build: Callable[[], keras.Model], train: Examples, validation: Examples, plan: Plan
    ) -> tuple[keras.Model, list[dict[str, float]]]:
        checkpoint = Checkpoint(self.checkpoints / f"{plan.name}.npz", self.key)
        with building_for(self.devices):
            model = build()
            history = fit(model, train, validation, plan, checkpoint)
        exact = build()
        exact.set_weights(model.get_weights())
        return exact, history

    def _head(self, channels: int) -> keras.Model:
        return build_head(channels, self.params.train.dropout)

    def _plan(
        self,
        name: str = "",
        *,
        augmented: bool = False,
        epochs: int | None = None,
        learning_rate: float | None = None,
    ) -> Plan:
        section = self.params.train
        return Plan(
            name or self.params.mode,
            section.seed,
            epochs or section.epochs,
            section.patience,
            section.batch_size,
            learning_rate or section.learning_rate,
            section.augment if augmented else None,
        )


def learning_key(params: Params, splits: Path, features: Path) -> str:
    """Return a digest of all that the weights depend on, with a table and a folder of features."""
    sections = [params.train.model_dump(), params.featurize.model_dump(), params.mode]
    # Features that are pixels know nothing of the weights that fine-tuning begins with.
    read = [digest_of_file(splits), digest_of_file(features / INDEX)]
    return digest_of_value([sections, digest_of_weights(params.featurize.weights), *read])


def _features_of(pixels: FeatureRows, folder: Path) -> FeatureRows:
    """Return what a frozen backbone gives for pixels, computed once for all epochs."""
    rows: list[npt.NDArray[np.float32]] = []
    with progress(len(pixels), "computing features", "images") as advance:
        for part in open_network(folder, "f32").stream(pixels.batches(BATCH_SIZE)):
            rows.append(part["features"])
            advance(len(part["features"]))
    return FeatureRows.of(np.concatenate(rows))


def training_report(
    params: Params,
    devices: Devices,
    classifier: keras.Model,
    trainable: keras.Model,
    history: list[dict[str, float]],
) -> EpochsReport:
    """Return what a training found, as the report of the stage `train` says it."""
    best = min(history, key=lambda row: row["val_loss"])
    return {
        "architecture": params.featurize.architecture,
        "mode": params.mode,
        "device": devices.description,
        "parameters": classifier.count_params(),
        "trained_parameters": sum(int(np.prod(w.shape)) for w in trainable.trainable_weights),
        "epochs": len(history),
        "best_epoch": int(best["epoch"]),
        "best": {name: value for name, value in best.items() if name != "epoch"},
    }
