"""Answer for images with a bundle: the same code in the service and on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cracks.bundle import Bundle
from cracks.features import decoded_batches
from cracks.labels import CRACK, NO_CRACK
from cracks.runtime import Network

#: Small batches use both cores better than large ones.
BATCH_SIZE = 8


@dataclass(frozen=True)
class Answer:
    """What the classifier says of one image."""

    label: str
    score: float  # probability of a crack
    threshold: float


class Classifier:
    """A bundle that is loaded and ready to answer."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the network.

        Raises:
            BundleError: the network cannot be loaded.
        """
        self.bundle = bundle
        self._network = Network(bundle.network)

    def scores(
        self, contents: Sequence[bytes], names: Sequence[str] | None = None
    ) -> npt.NDArray[np.float64]:
        """Return the scores, float64 (n,), of encoded images.

        Args:
            contents: JPEG or PNG files; an image of another size than the patches is resampled.
            names: what to call each of them in a refusal.

        Raises:
            UnreadableImage: one of them does not decode.
        """
        if not contents:
            return np.empty(0)
        batches = decoded_batches(contents, self.bundle.content.patch_size, BATCH_SIZE, names)
        return np.concatenate(self._network.run_all(batches))[:, 0].astype(np.float64)

    def answers(self, contents: Sequence[bytes], names: Sequence[str]) -> list[Answer]:
        """Return an answer for each encoded image, as `scores` does."""
        threshold = self.bundle.content.threshold
        return [
            Answer(CRACK if score >= threshold else NO_CRACK, round(float(score), 6), threshold)
            for score in self.scores(contents, names)
        ]
