"""The example receiver: it believes what is signed, fresh and new, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from docs.examples.webhook_receiver import WINDOW, Deliveries, Refused, announcement

SECRET = "a secret that nobody guesses"
BODY = b'{"entity": "model_version_alias", "action": "created"}'
NOW = 1_800_000_000.0


def _headers(
    body: bytes = BODY, *, id_: str = "1", sent: str = "1800000000", secret: str = SECRET
) -> dict[str, str]:
    """Return the headers that MLflow sends."""
    signed = f"{id_}.{sent}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return {
        "X-MLflow-Delivery-Id": id_,
        "X-MLflow-Timestamp": sent,
        "X-MLflow-Signature": f"v1,{base64.b64encode(digest).decode()}",
    }


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries(SECRET)


@pytest.mark.parametrize("late", [0, WINDOW, -WINDOW])
def test_a_signed_and_fresh_delivery_is_believed(deliveries: Deliveries, late: int) -> None:
    deliveries.check(_headers(), BODY, NOW + late)


@pytest.mark.parametrize("late", [WINDOW + 1, -WINDOW - 1])
def test_an_old_delivery_is_refused(deliveries: Deliveries, late: int) -> None:
    with pytest.raises(Refused, match="not sent within"):
        deliveries.check(_headers(), BODY, NOW + late)


def test_the_same_delivery_is_believed_once(deliveries: Deliveries) -> None:
    deliveries.check(_headers(), BODY, NOW)
    with pytest.raises(Refused, match="has come before"):
        deliveries.check(_headers(), BODY, NOW + 1)
    deliveries.check(_headers(id_="2"), BODY, NOW + 2)


def test_one_that_was_refused_may_come_again(deliveries: Deliveries) -> None:
    with pytest.raises(Refused):
        deliveries.check(_headers(secret="another"), BODY, NOW)
    deliveries.check(_headers(), BODY, NOW)


def test_old_deliveries_are_forgotten_only_when_their_time_would_be_refused(
    deliveries: Deliveries,
) -> None:
    # Sent by a clock that is ahead: believed early, and fresh for twice as long.
    early = _headers(sent=str(int(NOW) + WINDOW))
    deliveries.check(early, BODY, NOW)
    with pytest.raises(Refused, match="has come before"):
        deliveries.check(early, BODY, NOW + 2 * WINDOW)
    with pytest.raises(Refused, match="not sent within"):
        deliveries.check(early, BODY, NOW + 2 * WINDOW + 1)


@pytest.mark.parametrize("name", ["Delivery-Id", "Timestamp", "Signature"])
@pytest.mark.parametrize("value", [None, "", "2", "v1,", "v1,AAAA", "ünsigned", "-1800000000"])
def test_a_forged_or_missing_header_is_refused(
    deliveries: Deliveries, name: str, value: str | None
) -> None:
    headers = {**_headers(), f"X-MLflow-{name}": value}
    given = {key: text for key, text in headers.items() if text is not None}
    with pytest.raises(Refused):
        deliveries.check(given, BODY, NOW)


@pytest.mark.parametrize("place", range(0, len(BODY), 7))
def test_one_changed_byte_is_refused(deliveries: Deliveries, place: int) -> None:
    changed = bytearray(BODY)
    changed[place] ^= 1
    with pytest.raises(Refused, match="signature"):
        deliveries.check(_headers(), bytes(changed), NOW)


@pytest.mark.parametrize("sent", ["now", "1.8e9", "", "١٨٠٠٠٠٠٠٠٠"])
def test_a_signed_delivery_that_says_no_time_is_refused(deliveries: Deliveries, sent: str) -> None:
    with pytest.raises(Refused):
        deliveries.check(_headers(sent=sent), BODY, NOW)


@pytest.mark.parametrize(
    ("entity", "action", "data", "line"),
    [
        (
            "model_version_alias",
            "created",
            {"name": "m", "alias": "champion", "version": "2"},
            "promotion: version 2 of m is the champion",
        ),
        (
            "model_version_alias",
            "created",
            {"name": "m", "alias": "previous", "version": "1"},
            "version 1 of m is now called previous",
        ),
        (
            "model_version_alias",
            "deleted",
            {"name": "m", "alias": "previous"},
            "no version of m is called previous any more",
        ),
        (
            "model_version",
            "created",
            {"name": "m", "version": "3"},
            "version 3 of m was registered",
        ),
        ("registered_model", "created", {"name": "m"}, "registered_model.created of m"),
    ],
)
def test_an_event_is_announced_in_one_line(
    entity: str, action: str, data: dict[str, str], line: str
) -> None:
    assert announcement({"entity": entity, "action": action, "data": data}) == line
