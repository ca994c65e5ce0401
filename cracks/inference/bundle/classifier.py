"""Predict images with a bundle: the same code in the service and on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cracks.dataset.labels import CRACK, NO_CRACK
from cracks.images.batches import decoded_batches
from cracks.images.decode import Pixels
from cracks.inference.bundle.bundle import Bundle
from cracks.inference.bundle.novelty import load_novelty
from cracks.inference.runtime.openvino_runtime import Network, Outputs, joined

#: Small batches use both cores better than large ones.
BATCH_SIZE = 4

#: The network's features of images, float32 (n, d), or of one image, (d,).
Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What the classifier predicts for one image."""

    label: str
    score: float  # probability of a crack
    threshold: float
    novelty: float | None  # distance from the training data, as a share of what is usual there
    novel: bool | None  # whether it is unlike the training data; None if the bundle cannot tell
    raw: float  # the score as the network gives it
    #: (d,); None in a bundle of format 1.
    features: Features | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Measured:
    """What the network computes for n images."""

    raw: npt.NDArray[np.float64]  # (n,), scores as the network gives them
    scores: npt.NDArray[np.float64]  # (n,), calibrated
    novelty: npt.NDArray[np.float64] | None  # (n,), above 1 is unlike the training data
    features: Features | None  # (n, d); None in a bundle of format 1

    def __len__(self) -> int:
        return len(self.raw)


class Classifier:
    """A bundle that is loaded and ready to predict."""

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        """Load the network, and the description of the training data.

        Args:
            bundle: verified.
            threads: to compute with, where several processes share the cores; None takes them all.

        Raises:
            BundleError: one of them cannot be loaded.
        """
        self.bundle = bundle
        self._network = Network(bundle.network, bundle.content.precision, threads)
        self._novelty = load_novelty(bundle.novelty) if bundle.novelty else None

    def measure(self, contents: Sequence[bytes], names: Sequence[str] | None = None) -> Measured:
        """Return what the network computes for encoded images.

        Args:
            contents: JPEG or PNG files; an image of another size than the patches is resampled.
            names: what to call each of them in an error message.

        Raises:
            UnreadableImage: one of them does not decode.
        """
        size = self.bundle.content.patch_size
        return self.measure_pixels(decoded_batches(contents, size, BATCH_SIZE, names))

    def measure_pixels(self, batches: Iterable[Pixels]) -> Measured:
        """Return what the network computes for decoded images, all batches in one.

        Args:
            batches: uint8 RGB (k, size, size, 3) of the bundle's `patch_size`, of any k > 0;
                small ones of `BATCH_SIZE` are fastest.
        """
        return self._measured(joined(self._network.stream(batches)))

    def scores(
        self, contents: Sequence[bytes], names: Sequence[str] | None = None
    ) -> npt.NDArray[np.float64]:
        """Return the calibrated scores, float64 (n,), of encoded images, as `measure` does."""
        return self.measure(contents, names).scores

    def predict(self, contents: Sequence[bytes], names: Sequence[str]) -> list[Prediction]:
        """Return a prediction for each encoded image; raises as `measure` does."""
        return self.predictions_from(self.measure(contents, names))

    def predictions_from(self, measured: Measured) -> list[Prediction]:
        """Return a prediction for each image that was measured."""
        none = [None] * len(measured)
        return [
            self._prediction(*values)
            for values in zip(
                measured.scores.tolist(),
                measured.raw.tolist(),
                none if measured.novelty is None else measured.novelty.tolist(),
                none if measured.features is None else measured.features,
                strict=True,
            )
        ]

    @property
    def parallel_batches(self) -> int:
        """How many batches are computed at a time."""
        return self._network.parallel_batches

    def open_request(self) -> Callable[[Pixels], Measured]:
        """Return what measures one batch at a time, as `measure_pixels` does.

        Each thread needs one of its own; Python's lock is free while the network computes.
        """
        request = self._network.open_request()
        return lambda batch: self._measured(request.run(batch))

    def _prediction(
        self, score: float, raw: float, distance: float | None, features: Features | None
    ) -> Prediction:
        threshold = self.bundle.content.threshold
        return Prediction(
            CRACK if score >= threshold else NO_CRACK,
            round(score, 6),
            threshold,
            None if distance is None else round(distance, 4),
            None if distance is None else distance > 1,
            raw,
            features,
        )

    def _measured(self, outputs: Outputs) -> Measured:
        if not outputs:
            return Measured(np.empty(0), np.empty(0), None, None)
        raw, features = outputs["score"][:, 0].astype(np.float64), outputs.get("features")
        novelty = None
        if self._novelty and features is not None:
            novelty = self._novelty.share(features)
        return Measured(raw, self.bundle.content.calibration.apply(raw), novelty, features)
