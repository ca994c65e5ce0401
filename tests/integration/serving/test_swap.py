"""Promotions and rollbacks under load: no request fails, and no prediction is of two models."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest
from processes import wait_until

from cracks.errors import ServiceError
from cracks.inference.handover.champion import POINTER, Champion, name_champion, stage_bundle
from cracks.inference.handover.service_processes import (
    ServiceReporter,
    living_processes,
    wait_for_service,
)
from serving.engine.champion_watch import ChampionWatch
from serving.telemetry.metrics import Metrics
from tests.integration.bundles import grey_image, make_bundle
from tests.integration.conftest import Serve
from tests.integration.services import ServiceProcess, uploads
from tests.unit.builders import champion_of

FACTORS = {"1": 1.0, "2": 0.5, "3": 0.25}
#: What is in service, one after the other: promotions and rollbacks.
TURNS = ("2", "1", "3", "2", "3", "1", "2", "1", "3", "1")

GREYS = (200, 60)
IMAGES = {str(grey): grey_image(grey) for grey in GREYS}
CLIENTS = 3


@dataclass
class Handover:
    """The folder of a service, with three versions of known scores in it."""

    service: Path
    champions: dict[str, Champion]
    turns: int = 0

    @classmethod
    def made(cls, place: Path) -> Handover:
        champions = {}
        for version, factor in FACTORS.items():
            bundle = make_bundle(place / f"v{version}", factor)
            name = stage_bundle(place / "service", bundle, version)
            champions[version] = champion_of(version, bundle.digest, name)
        made = cls(place / "service", champions)
        made.name("1")
        return made

    def name(self, version: str) -> Champion:
        """Put a version into service, as a promotion does."""
        self.turns += 1
        transaction = {"transaction": f"{self.turns}"}
        named = self.champions[version].model_copy(update=transaction)
        name_champion(self.service, named)
        return named

    def damage(self, version: str) -> None:
        (self.champions[version].folder(self.service) / "model.bin").write_bytes(b"nothing")


@dataclass
class Asked:
    """One request for all images, and what was predicted."""

    sent: float  # seconds
    done: float
    versions: set[str]
    scores: list[float]


def send_until(ended: threading.Event, url: str) -> list[Asked]:
    """Send requests again and again, of which none may fail; return what was predicted."""
    asked = []
    with httpx.Client(base_url=url, timeout=20) as client:
        while not ended.is_set():
            sent = time.monotonic()
            response = client.post("/predict", files=uploads(**IMAGES))
            predictions = response.raise_for_status().json()["predictions"]
            versions = {prediction["model_version"] for prediction in predictions}
            scores = [prediction["score"] for prediction in predictions]
            asked.append(Asked(sent, time.monotonic(), versions, scores))
    return asked


@pytest.fixture
def handover(tmp_path: Path) -> Handover:
    return Handover.made(tmp_path)


# --- real processes -------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_no_request_fails_and_none_is_served_by_a_version_that_was_swapped_away(
    serve: Serve, handover: Handover, processes: int
) -> None:
    options = ("--open", "--processes", str(processes))
    swaps: list[tuple[str, float, float]] = []  # version, named, all have loaded it
    ended = threading.Event()
    with serve(handover.service, *options) as service, ThreadPoolExecutor(CLIENTS) as clients:
        wait_until(lambda: len(living_processes(handover.service)) == processes, "the processes")
        wait_for_service(handover.service, handover.name("1"), 20)
        sending = [clients.submit(send_until, ended, service.url) for _ in range(CLIENTS)]
        try:
            for version in TURNS:
                before = time.monotonic()
                loaded = wait_for_service(handover.service, handover.name(version), 20)
                assert len(loaded) == processes
                swaps.append((version, before, time.monotonic()))
                time.sleep(0.1)
        finally:
            ended.set()
        asked = [one for client in sending for one in client.result()]
    for one in asked:
        (version,) = one.versions
        assert one.scores == pytest.approx(
            [FACTORS[version] * grey / 255 for grey in GREYS], abs=1e-4
        )
    for (version, _, settled), (_, named, _) in pairwise(swaps):
        within = [one for one in asked if settled < one.sent and one.done < named]
        assert {found for one in within for found in one.versions} <= {version}
    assert set.union(*(one.versions for one in asked)) == set(FACTORS)


#: A service of two processes, and the folder that it follows.
Two: TypeAlias = tuple[ServiceProcess, Handover]


@pytest.fixture(scope="module")
def two(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Two processes; each test names the champion that it begins with."""
    handover = Handover.made(tmp_path_factory.mktemp("two"))
    with serve(handover.service, "--open", "--processes", "2") as service:
        wait_until(lambda: len(living_processes(handover.service)) == 2, "the processes")
        yield service, handover


def test_any_of_several_processes_tells_the_metrics_of_all(two: Two) -> None:
    service, handover = two
    wait_for_service(handover.service, handover.name("1"), 20)
    before = service.metric("cracks_images_total")
    for _ in range(8):
        with httpx.Client(base_url=service.url) as another:
            another.post("/predict", files=uploads(image=IMAGES["200"])).raise_for_status()
    assert service.metric("cracks_images_total") == before + 8
    assert service.metric('cracks_model_info{run_id="run-1",version="1"}') == 1


def test_a_broken_bundle_is_refused_by_all_and_the_old_one_stays(two: Two) -> None:
    service, handover = two
    wait_for_service(handover.service, handover.name("1"), 20)
    handover.damage("3")
    with pytest.raises(ServiceError, match=r"refused it: .*model\.bin has not the SHA-256"):
        wait_for_service(handover.service, handover.name("3"), 20)
    assert "model.bin" in service.wait_for_problem()
    (prediction,) = service.predict(image=IMAGES["200"])
    assert prediction["model_version"] == "1"
    assert len(wait_for_service(handover.service, handover.name("2"), 20)) == 2
    assert service.wait_for_version("2")["problem"] is None


def test_a_process_that_is_killed_is_replaced_by_one_that_serves_the_champion(two: Two) -> None:
    service, handover = two
    pids = {int(one.process.rpartition("-")[2]) for one in living_processes(handover.service)}
    os.kill(min(pids), signal.SIGKILL)
    named = handover.name("1")  # while one of them is dead

    def replaced() -> bool:
        living = living_processes(handover.service)
        return len(living) == 2 and all(one.champion == named for one in living)

    service.process.wait_until(replaced, "two processes with version 1")
    with httpx.Client(base_url=service.client.base_url) as client:
        for _ in range(4):
            response = client.post("/predict", files=uploads(**IMAGES))
            assert response.json()["predictions"][0]["model_version"] == "1"


def test_when_it_is_told_to_end_a_request_under_way_is_finished_and_no_report_is_left(
    serve: Serve, handover: Handover
) -> None:
    image = IMAGES["200"]
    headers = ("Connection: close", "Content-Type: image/png", f"Content-Length: {len(image)}")
    with serve(handover.service, "--open", "--processes", "2") as service:
        wait_until(lambda: len(living_processes(handover.service)) == 2, "the processes")
        with service.post(*headers) as request:
            request.send(image[:50])
            time.sleep(0.5)  # until one of the two has begun with it, which nothing shows
            os.kill(service.process.pid, signal.SIGTERM)
            wait_until(
                lambda: len(living_processes(handover.service)) < 2, "the end of the other one"
            )
            request.send(image[50:])
            assert request.response()[0] == 200
        assert service.process.wait(15) in (0, 130)
        assert living_processes(handover.service) == []
        assert "Traceback" not in service.process.stderr


# --- one process among others ---------------------------------------------------------------------


@pytest.fixture
def watch(handover: Handover) -> Iterator[ChampionWatch]:
    watch = ChampionWatch(handover.service, Metrics())
    watch.poll()
    yield watch
    watch.close()


def version_of(watch: ChampionWatch) -> str:
    with watch.lease() as in_service:
        return in_service.champion.version


def test_it_switches_only_when_the_other_processes_are_ready_too(
    handover: Handover, watch: ChampionWatch
) -> None:
    other = ServiceReporter(handover.service, "other-1")
    other.tell(handover.champions["1"], None, None)
    named = handover.name("2")
    for _ in range(3):
        watch.poll()
        assert version_of(watch) == "1"
    (mine,) = (one for one in living_processes(handover.service) if one.process != "other-1")
    assert mine.prepared == named
    other.tell(handover.champions["1"], None, None, prepared=named)
    watch.poll()
    assert version_of(watch) == "2"


def test_it_does_not_wait_for_a_process_that_has_ended(
    handover: Handover, watch: ChampionWatch
) -> None:
    other = ServiceReporter(handover.service, "other-1")
    other.tell(handover.champions["1"], None, None)
    handover.name("2")
    watch.poll()
    other.end()
    watch.poll()
    assert version_of(watch) == "2"


def test_it_does_not_wait_for_ever(
    handover: Handover, watch: ChampionWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    ServiceReporter(handover.service, "other-1").tell(handover.champions["1"], None, None)
    handover.name("2")
    watch.poll()
    assert version_of(watch) == "1"
    monkeypatch.setattr("serving.engine.champion_watch.SWITCH_PATIENCE", 0)
    watch.poll()
    assert version_of(watch) == "2"


def test_where_another_process_refuses_the_champion_the_old_one_stays_and_it_says_why(
    handover: Handover, watch: ChampionWatch
) -> None:
    other, named = ServiceReporter(handover.service, "other-1"), handover.name("2")
    other.tell(handover.champions["1"], named, "No memory left.")
    watch.poll()
    assert version_of(watch) == "1"
    assert "other-1 refused version 2: No memory left. All stay with version 1" in str(
        watch.problem
    )
    other.end()  # and is started again, with more memory
    watch.poll()
    assert (version_of(watch), watch.problem) == ("2", None)


def test_a_promotion_that_is_undone_while_it_waits_changes_nothing(
    handover: Handover, watch: ChampionWatch
) -> None:
    before = watch.current
    other = ServiceReporter(handover.service, "other-1")
    other.tell(handover.champions["1"], None, None)
    handover.name("2")
    watch.poll()
    assert before
    name_champion(handover.service, before.champion)
    watch.poll()
    other.end()
    watch.poll()
    assert (watch.current, watch.problem) == (before, None)


def test_a_damaged_champion_file_is_reported_until_it_is_fixed(
    handover: Handover, watch: ChampionWatch
) -> None:
    pointer = handover.service / POINTER
    sound = pointer.read_bytes()
    pointer.write_bytes(b"{")
    watch.poll()
    assert POINTER in str(watch.problem)
    assert version_of(watch) == "1"
    pointer.write_bytes(sound)
    watch.poll()
    assert watch.problem is None
    handover.name("2")
    watch.poll()
    assert version_of(watch) == "2"


def test_what_stands_in_the_way_is_logged_once_and_not_at_every_poll(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = ChampionWatch(tmp_path / "service", Metrics())
    for _ in range(5):
        watch.poll()
    assert "No champion is in service yet" in (watch.problem or "")
    assert len(caplog.records) <= 1


def test_a_request_keeps_its_version_to_the_end_and_then_the_old_one_is_freed(
    handover: Handover, watch: ChampionWatch
) -> None:
    with watch.lease() as in_service:
        of_the_old = set(engine_threads())
        handover.name("2")
        watch.poll()
        watch.poll()
        assert version_of(watch) == "2"
        assert of_the_old <= set(engine_threads())
        assert in_service.champion.version == "1"
    watch.poll()
    assert not of_the_old & set(engine_threads())


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "engine"]
