"""Prediction ids: they say which model predicted, for what, and when; anything else is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracks.errors import TrackingError
from cracks.inference.handover.prediction_id import PredictionId, parse_prediction_id, prediction_id
from cracks.system.hashing import digest_of_bytes
from tests.unit.builders import champion_of

NOON = datetime(2026, 11, 21, 12, 0, 30, 417_999, UTC)
CHAMPION = champion_of("3", "1f0a2b3c4d5e" + "0" * 52)
IMAGE = digest_of_bytes(b"a photograph")
ID = "v3-1f0a2b3c4d5e-9e107d9d372bb682-20261121T120030417Z"


def test_an_id_names_version_bundle_image_and_time() -> None:
    assert str(prediction_id(CHAMPION, IMAGE, NOON)) == (
        f"v3-1f0a2b3c4d5e-{IMAGE[:16]}-20261121T120030417Z"
    )


def test_an_image_has_the_digits_of_the_patch_that_it_is() -> None:
    patch_id = digest_of_bytes(b"the very bytes of a training patch")
    assert patch_id.startswith(prediction_id(CHAMPION, patch_id, NOON).image)


def test_a_time_of_another_zone_is_told_in_utc() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert prediction_id(CHAMPION, IMAGE, elsewhere) == prediction_id(CHAMPION, IMAGE, NOON)


@given(
    version=st.integers(1, 10**9),
    bundle=st.text("0123456789abcdef", min_size=12, max_size=12),
    content=st.binary(max_size=8),
    time=st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC)),
)
def test_what_is_written_is_what_is_read(
    version: int, bundle: str, content: bytes, time: datetime
) -> None:
    champion = CHAMPION.model_copy(
        update={"version": str(version), "bundle_digest": bundle + "f" * 52}
    )
    given_id = prediction_id(champion, digest_of_bytes(content), time)
    assert parse_prediction_id(str(given_id)) == given_id


def test_an_id_is_read_whole() -> None:
    assert parse_prediction_id(ID) == PredictionId(
        "3", "1f0a2b3c4d5e", "9e107d9d372bb682", NOON.replace(microsecond=417_000)
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "v3",
        ID[1:],
        ID[:-1],
        ID + "\n",
        f" {ID}",
        ID.upper(),
        ID.replace("v3", "v0"),
        ID.replace("v3", "v03"),
        ID.replace("v3", "v-3"),
        ID.replace("v3", "v٣"),
        ID.replace("1f0a", "1g0a"),
        ID.replace("-9e10", "-9e1"),
        ID.replace("20261121", "20261321"),
        ID.replace("20261121", "20260230"),
        ID.replace("T12", "T25"),
        ID.replace("20261121", "00001121"),
        "v" + "9" * 5000,
    ],
)
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(TrackingError, match="is no prediction id") as refusal:
        parse_prediction_id(text)
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 400


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(TrackingError):
        parse_prediction_id(text)
