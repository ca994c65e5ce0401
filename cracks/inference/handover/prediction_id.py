"""Prediction ids: which model predicted, for which image, and when, without any store.

    v3-1f0a2b3c4d5e-9e107d9d372bb682-20261121T161422417Z
    │  │            │                └ when, UTC, with milliseconds
    │  │            └ SHA-256 of the uploaded bytes, its first 16 digits; a patch of the training
    │  │              data has the same digits at the front of its id
    │  └ digest of the bundle that predicted, its first 12 digits
    └ version of the model

`cracks trace` follows one back to the data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from cracks.errors import TrackingError
from cracks.inference.handover.champion import Champion

#: Hexadecimal digits of each digest in an id.
BUNDLE_DIGITS, IMAGE_DIGITS = 12, 16

PATTERN = re.compile(
    rf"v(?P<version>[1-9][0-9]*)-(?P<bundle>[0-9a-f]{{{BUNDLE_DIGITS}}})"
    rf"-(?P<image>[0-9a-f]{{{IMAGE_DIGITS}}})"
    r"-(?P<second>[0-9]{8}T[0-9]{6})(?P<millisecond>[0-9]{3})Z",
    re.ASCII,
)
SECOND = "%Y%m%dT%H%M%S"


@dataclass(frozen=True)
class PredictionId:
    """The parts of an id; `str` of it is the id."""

    version: str
    bundle: str  # the first digits of the bundle's digest
    image: str  # the first digits of the image's SHA-256
    time: datetime  # UTC

    def __str__(self) -> str:
        millisecond = self.time.microsecond // 1000
        time = f"{self.time.strftime(SECOND)}{millisecond:03}Z"
        return f"v{self.version}-{self.bundle}-{self.image}-{time}"


def prediction_id(champion: Champion, image_sha256: str, time: datetime) -> PredictionId:
    """Return the id of a prediction.

    Args:
        champion: the model that predicted.
        image_sha256: of the image as it was sent.
        time: when, with its time zone; milliseconds are kept.
    """
    utc = time.astimezone(UTC)
    return PredictionId(
        champion.version,
        champion.bundle_digest[:BUNDLE_DIGITS],
        image_sha256[:IMAGE_DIGITS],
        utc.replace(microsecond=utc.microsecond // 1000 * 1000),
    )


def parse_prediction_id(text: str) -> PredictionId:
    """Return the parts of an id.

    Raises:
        TrackingError: it is no prediction id.
    """
    found = PATTERN.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        time = datetime.strptime(found["second"], SECOND).replace(
            microsecond=int(found["millisecond"]) * 1000, tzinfo=UTC
        )
    except ValueError:  # another form, or no such day or hour
        raise TrackingError(
            f"{shown(text)} is no prediction id. One looks like "
            "v3-1f0a2b3c4d5e-9e107d9d372bb682-20261121T161422417Z, as `cracks predict --json` and "
            "the service give it."
        ) from None
    return PredictionId(found["version"], found["bundle"], found["image"], time)


def shown(text: str) -> str:
    """Return a text in one short line, to be quoted in an error message."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
