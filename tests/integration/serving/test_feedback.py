"""`POST /feedback`: for predictions that the service made, by anybody with a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cracks.monitoring.feedback.record import FeedbackRecord
from cracks.monitoring.request_counts import FOLDER as REQUESTS
from serving.middleware.api_keys import create_key
from tests.integration.bundles import grey_image, hand_over, make_bundle
from tests.integration.services import Service, in_process

BRIGHT = grey_image(200)  # predicted as `crack`
UNKNOWN = "v1-000000000000-0123456789abcdef-20261121T120000000Z"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    folder = tmp_path / "service"
    hand_over(folder, make_bundle(tmp_path / "v1"), "1")
    with in_process(folder, key=create_key(folder / "keys.json", "ann")) as service:
        yield service


def say(service: Service, *said: tuple[str, str]) -> tuple[int, object]:
    labels = [{"prediction_id": name, "label": label} for name, label in said]
    response = service.client.post("/feedback", json={"feedback": labels})
    found = response.json()
    return response.status_code, found.get("feedback", found.get("detail"))


def test_a_label_is_taken_at_once_and_only_once(service: Service) -> None:
    name = service.predict(column=BRIGHT)[0]["prediction_id"]
    kept = {"prediction_id": name, "label": "no crack", "answered": "crack", "agrees": False}
    assert say(service, (name, "no crack")) == (200, [kept | {"status": "recorded"}])
    assert say(service, (name, "No_Crack")) == (200, [kept | {"status": "known"}])
    corrected = kept | {"label": "crack", "agrees": True, "status": "corrected"}
    assert say(service, (name, "crack")) == (200, [corrected])
    kept_entries = FeedbackRecord.beside(service.folder).everything()
    assert [(one.prediction_id, one.label, one.by) for one in kept_entries] == [
        (name, "crack", "ann")
    ]


def test_what_is_no_feedback_is_refused_in_words(service: Service) -> None:
    name = service.predict(column=BRIGHT)[0]["prediction_id"]
    status, why = say(service, (UNKNOWN, "crack"))
    assert (status, "is not in the record of predictions" in str(why)) == (404, True)
    refused = [say(service, (name, "fissure")), say(service, ("7", "crack")), say(service)]
    assert [status for status, _ in refused] == [422] * 3


def test_the_service_leaves_how_many_requests_it_failed(tmp_path: Path) -> None:
    hand_over(tmp_path / "service", make_bundle(tmp_path / "v1"), "1")
    with in_process(tmp_path / "service") as service:
        service.predict(column=BRIGHT)
    files = list((service.folder / "answers/monitoring" / REQUESTS).rglob("*.json"))
    assert len(files) in (1, 2)
    assert '"failed": 0' in files[0].read_text()
