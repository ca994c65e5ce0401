"""Answer for images with a bundle: the same code in the service and on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cracks.bundle import Bundle
from cracks.features import decoded_batches
from cracks.labels import CRACK, NO_CRACK
from cracks.novelty import load_novelty
from cracks.runtime import Network, Outputs

#: Small batches use both cores better than large ones.
BATCH_SIZE = 4


@dataclass(frozen=True)
class Answer:
    """What the classifier says of one image."""

    label: str
    score: float  # probability of a crack
    threshold: float
    novelty: float | None  # distance from the training data, as a share of what is usual there
    novel: bool | None  # whether it is unlike the training data; None if the bundle cannot tell


@dataclass(frozen=True)
class Measured:
    """What the network says of n images."""

    raw: npt.NDArray[np.float64]  # (n,), scores as the network gives them
    scores: npt.NDArray[np.float64]  # (n,), calibrated
    novelty: npt.NDArray[np.float64] | None  # (n,), above 1 is unlike the training data


class Classifier:
    """A bundle that is loaded and ready to answer."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the network, and what it knows of the training data.

        Raises:
            BundleError: one of them cannot be loaded.
        """
        self.bundle = bundle
        self._network = Network(bundle.network, bundle.content.precision)
        self._novelty = load_novelty(bundle.novelty) if bundle.novelty else None

    def measure(self, contents: Sequence[bytes], names: Sequence[str] | None = None) -> Measured:
        """Return what the network says of encoded images.

        Args:
            contents: JPEG or PNG files; an image of another size than the patches is resampled.
            names: what to call each of them in a refusal.

        Raises:
            UnreadableImage: one of them does not decode.
        """
        if not contents:
            return Measured(np.empty(0), np.empty(0), None)
        batches = decoded_batches(contents, self.bundle.content.patch_size, BATCH_SIZE, names)
        return self._measured(self._network.run_all(batches))

    def scores(
        self, contents: Sequence[bytes], names: Sequence[str] | None = None
    ) -> npt.NDArray[np.float64]:
        """Return the calibrated scores, float64 (n,), of encoded images, as `measure` does."""
        return self.measure(contents, names).scores

    def answers(self, contents: Sequence[bytes], names: Sequence[str]) -> list[Answer]:
        """Return an answer for each encoded image, as `measure` does."""
        measured, threshold = self.measure(contents, names), self.bundle.content.threshold
        novelty = [None] * len(contents) if measured.novelty is None else measured.novelty.tolist()
        return [
            Answer(
                CRACK if score >= threshold else NO_CRACK,
                round(float(score), 6),
                threshold,
                None if distance is None else round(distance, 4),
                None if distance is None else distance > 1,
            )
            for score, distance in zip(measured.scores, novelty, strict=True)
        ]

    def _measured(self, outputs: Outputs) -> Measured:
        raw = outputs["score"][:, 0].astype(np.float64)
        novelty = self._novelty.share(outputs["features"]) if self._novelty else None
        return Measured(raw, self.bundle.content.calibration.apply(raw), novelty)
