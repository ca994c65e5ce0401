"""Where the weights of a backbone come from."""

from __future__ import annotations

from pathlib import Path

from cracks.system.hashing import digest_of_file
from cracks.workspace.params import NAMED_WEIGHTS


def digest_of_weights(weights: str) -> str | None:
    """Return the SHA-256 of the file that `featurize.weights` names, or None if it names none."""
    if weights in NAMED_WEIGHTS:
        return None
    return digest_of_file(Path(weights).expanduser())
