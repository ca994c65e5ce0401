"""`POST /feedback` on a real service: for predictions that it made, by anybody with a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import StartProcess

from cracks.monitoring.feedback.record import FeedbackRecord
from cracks.monitoring.request_counts import FOLDER as REQUESTS
from serving.middleware.api_keys import create_key
from tests.integration.bundles import grey_image, hand_over, make_bundle
from tests.integration.services import Service, make_workspace, serving

pytestmark = pytest.mark.integration

BRIGHT = grey_image(200)  # predicted as `crack`
UNKNOWN = "v1-000000000000-0123456789abcdef-20261121T120000000Z"


@pytest.fixture(scope="module")
def service(
    start_for_module: StartProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("place")
    hand_over(place / "service", make_bundle(place / "v1"), "1")
    key = create_key(place / "service" / "keys.json", "ann")
    workspace = make_workspace(place / "workspace")
    folder, options = place / "service", ("--host", "127.0.0.1")
    with serving(
        start_for_module, workspace, folder, *options, headers={"X-API-Key": key}
    ) as running:
        running.wait_for_version("1")
        yield running


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
    name = service.predict(column=grey_image(190))[0]["prediction_id"]
    before = FeedbackRecord.beside(service.folder).everything()
    status, why = say(service, (name, "crack"), (UNKNOWN, "crack"))
    assert (status, "is not in the record of predictions" in str(why)) == (404, True)
    status, why = say(service, (name, "fissure"))
    assert (status, "is no label: write `no crack` or `crack`" in str(why)) == (422, True)
    status, why = say(service, ("7", "crack"))
    assert (status, "is no prediction id" in str(why)) == (422, True)
    assert say(service)[0] == 422
    # Of the first request nothing was kept either.
    assert FeedbackRecord.beside(service.folder).everything() == before


def test_without_a_key_nobody_says_anything(service: Service) -> None:
    response = service.client.post(
        "/feedback", json={"feedback": []}, headers={"X-API-Key": "crk_wrong"}
    )
    assert response.status_code == 401


def test_the_service_leaves_how_many_requests_it_failed(service: Service, tmp_path: Path) -> None:
    service.predict(column=BRIGHT)
    service.process.end()  # at its end it writes the last ones
    files = list((service.folder / "answers/monitoring" / REQUESTS).rglob("*.json"))
    assert len(files) in (1, 2)
    assert '"failed": 0' in files[0].read_text()
