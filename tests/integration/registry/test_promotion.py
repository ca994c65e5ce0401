"""Promotion: whatever fails or is killed, the registry, the ledger and the service agree."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from damaged import flip
from processes import CHECKOUT, TOOLS, RunningProcess, StartProcess, environment, wait_until

from cracks.errors import BundleError, PromotionFailed
from cracks.inference.handover.champion import read_champion
from cracks.inference.handover.service_processes import ServiceReporter
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.promotion.transaction import (
    PromotionRequest,
    promote,
    recover_interrupted,
)
from cracks.workspace.params_file import set_params
from cracks.workspace.paths import Paths
from tests.integration.bundles import grey_image, make_bundle
from tests.integration.registered import register_version
from tests.integration.services import Service, make_workspace, serving, uploads
from tests.unit.builders import params_with

IMAGE, LIMITS = grey_image(200), params_with().promote

#: Moments at which a promotion is killed; each takes some three seconds.
KILLS = int(os.environ.get("CRACKS_TEST_KILLS", "12"))


@dataclass(frozen=True)
class Place:
    """A registered model with three versions, and the folder of a service."""

    paths: Paths
    tracking: Tracking
    service: Path

    def register(self, factor: float) -> str:
        """Register a version whose scores are brightness × factor; return its number."""
        folder = self.paths.root / "made" / self.tracking.model_name / str(factor)
        return register_version(self.tracking, make_bundle(folder, factor))

    def do(self, kind: Any, version: str, why: str = "a test") -> dict[str, Any]:
        order = PromotionRequest(kind, version, why, "somebody")
        return promote(order, self.tracking, self.service, LIMITS)

    def promote(self, version: str) -> dict[str, Any]:
        return self.do("promote", version)

    def state(self) -> tuple[str | None, str | None, str | None, list[str]]:
        """Return champion, previous, what champion.json names, and where the ledger led to."""
        registry, named = self.tracking.registry, read_champion(self.service)
        champion, previous = registry.champion(), registry.previous()
        return (
            champion and champion.version,
            previous and previous.version,
            named and named.version,
            [entry.to_version for entry in self.tracking.ledger.entries()],
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A workspace with a tracking store, which takes seconds to make."""
    return Paths(make_workspace(tmp_path_factory.mktemp("store") / "workspace"))


@pytest.fixture
def place(store: Paths, tmp_path: Path) -> Place:
    tracking = Tracking(store, f"brightness-{tmp_path.name}")
    made = Place(store, tracking, tmp_path / "service")
    for factor in (1.0, 0.9, 0.8):
        made.register(factor)
    return made


# --- what a promotion does ------------------------------------------------------------------------


def test_a_promoted_version_is_champion_and_the_one_before_it_is_kept_at_hand(
    place: Place,
) -> None:
    assert place.promote("1")["previous"] is None
    assert place.state() == ("1", None, "1", ["1"])
    assert place.promote("2")["previous"] == "1"
    assert place.state() == ("2", "1", "2", ["1", "2"])
    first, second = place.tracking.ledger.entries()
    assert (second.from_version, second.who, second.why) == ("1", "somebody", "a test")
    assert second.previous == first.hash


def test_a_rollback_is_a_promotion_of_the_previous_one(place: Place) -> None:
    place.promote("1")
    place.promote("3")
    assert place.do("rollback", "1", "misses hairlines")["version"] == "1"
    assert place.state() == ("1", "3", "1", ["1", "3", "1"])
    last = place.tracking.ledger.entries()[-1]
    assert (last.kind, last.why) == ("rollback", "misses hairlines")


@pytest.mark.parametrize("champion", ["2", "3"])
def test_promoting_the_champion_again_changes_only_an_alias_that_was_moved_by_hand(
    place: Place, champion: str
) -> None:
    place.promote("1")
    place.promote("2")
    before = place.state(), read_champion(place.service)
    place.tracking.registry.move_aliases(champion=champion, previous="1")
    assert place.promote("2")["changed"] is False
    assert (place.state(), read_champion(place.service)) == before


# --- what is refused ------------------------------------------------------------------------------


def test_a_version_that_was_registered_without_a_bundle_is_never_served(place: Place) -> None:
    bare = register_version(place.tracking, None)
    for said in ("There is no champion yet", f"Version {bare} was registered without a bundle"):
        before = place.state()
        with pytest.raises(PromotionFailed, match=said):
            place.promote(bare)
        assert place.state() == before
        assert place.tracking.promotion_lock.underway() is None
        place.promote("1")


@pytest.mark.parametrize("file", ["model.bin", "model.xml", "bundle.json"])
def test_a_bundle_that_was_altered_in_the_store_is_refused_by_name(place: Place, file: str) -> None:
    place.promote("1")
    before = place.state()
    run_id = place.tracking.registry.version("2").run_id
    (stored,) = place.paths.root.glob(f"mlruns/**/{run_id}/artifacts/bundle/{file}")
    flip(stored)
    with pytest.raises(PromotionFailed, match="stopped at checking the bundle") as refusal:
        place.promote("2")
    assert isinstance(refusal.value.__cause__, BundleError)
    assert "Version 1 stays the champion." in str(refusal.value)
    assert place.state() == before


def test_where_the_service_refuses_the_old_champion_stays(place: Place) -> None:
    place.promote("1")
    before = place.state(), read_champion(place.service)
    reporter, stop = ServiceReporter(place.service), threading.Event()

    def refuse_everything_but_version_1() -> None:
        loaded = read_champion(place.service)
        while not stop.wait(0.02):
            named = read_champion(place.service)
            reporter.tell(loaded, None if named == loaded else named, "no memory left")

    service = threading.Thread(target=refuse_everything_but_version_1)
    service.start()
    try:
        with pytest.raises(PromotionFailed, match=r"waiting for the service: .*no memory left"):
            place.promote("2")
    finally:
        stop.set()
        service.join()
        reporter.end()
    assert (place.state(), read_champion(place.service)) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("promote", "9"), "has no version 9"),
        (("rollback", "--why", "a test"), "no champion before this one"),
        pytest.param(
            *(("rollback", "--to", "v8", "--why", "a test"), "has no version 8"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_on_the_command_line_a_refusal_is_one_line_and_exit_code_1(
    start: StartProcess, place: Place, arguments: tuple[str, ...], said: str
) -> None:
    before = place.state()
    (place.paths.root / "params.yaml").write_bytes((CHECKOUT / "params.yaml").read_bytes())
    set_params(place.paths.params, [f"register.model_name={place.tracking.model_name}"])
    process = start(
        [TOOLS / "cracks", "-C", place.paths.root, *arguments],
        variables={"CRACKS_SERVICE_DIR": str(place.service)},
    )
    assert process.wait(120) == 1, process.log
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert place.state() == before


# --- killed at any moment -------------------------------------------------------------------------

#: Forks a process for each version that it is told, so that a promotion begins at once.
PROMOTER = """
import os, sys
from pathlib import Path
import mlflow, openvino, cracks.inference.bundle.classifier
from mlflow import MlflowClient
import mlflow.store.tracking.sqlalchemy_store, mlflow.store.model_registry.sqlalchemy_store
from cracks.errors import CracksError
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths
from cracks.registry.promotion.transaction import PromotionRequest, promote
from cracks.registry.mlflow_store.tracking import Tracking

root, service, model = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
limits = load_params(Path(sys.argv[4])).promote

def run(kind, version):
    try:
        request = PromotionRequest(kind, version, "a test", "somebody")
        promote(request, Tracking(Paths(root), model), service, limits)
    except CracksError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0

print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os._exit(run(*line.split()))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def promoter_arguments(place: Place) -> list[str]:
    root, service, model = place.paths.root, place.service, place.tracking.model_name
    return [str(root), str(service), model, str(CHECKOUT / "params.yaml")]


@dataclass
class Promoter:
    """A process that promotes in children of its own, which can be killed."""

    process: Any

    @classmethod
    def started(cls, place: Place) -> Promoter:
        process = subprocess.Popen(
            [sys.executable, "-c", PROMOTER, *promoter_arguments(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return cls(process)

    def do(self, kind: str, version: str, kill_after: float | None = None) -> int:
        """Promote or roll back, or be killed at it after some seconds; return the exit code."""
        self.process.stdin.write(f"{kind} {version}\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):  # it was done before
                os.kill(child, signal.SIGKILL)
        return int(self.process.stdout.readline())

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)


@contextmanager
def requesting(service: Service) -> Iterator[list[int]]:
    """Request predictions again and again; yield the statuses of the responses."""
    statuses: list[int] = []
    stop = threading.Event()

    def request() -> None:
        while not stop.wait(0.01):
            response = service.client.post("/predict", files=uploads(image=IMAGE))
            statuses.append(response.status_code)

    with ThreadPoolExecutor(1) as pool:
        requests = pool.submit(request)
        try:
            yield statuses
        finally:
            stop.set()
        requests.result()


@pytest.fixture
def service(start: StartProcess, place: Place) -> Iterator[Service]:
    place.promote("1")
    with serving(start, place.paths.root, place.service) as running:
        running.wait_for_version("1")
        yield running


def version_of(service: Service) -> str:
    return str(service.client.get("/model").json()["model_version"])


def agreeing(place: Place, service: Service) -> str | None:
    """Return the version that alias, ledger, champion.json and the service name; None if unlike."""
    champion, _, named, ledger = place.state()
    versions = {champion, named, ledger[-1], version_of(service)}
    return versions.pop() if len(versions) == 1 else None


def wait_until_agreed(place: Place, service: Service, version: str = "") -> None:
    """Wait until all name one version, or this one."""

    def agreed() -> bool:
        found = agreeing(place, service)
        return found == version if version else found is not None

    wait_until(agreed, "agreement", timeout=8)


@pytest.mark.slow
def test_what_is_killed_at_any_moment_is_finished_or_undone_by_the_next_command(
    place: Place, service: Service
) -> None:
    promoter, chance = Promoter.started(place), random.Random(5)
    try:
        begin = time.monotonic()
        assert promoter.do("promote", "2") == 0
        whole, killed, unsettled = time.monotonic() - begin, 0, 0
        with requesting(service) as statuses:
            for _ in range(KILLS):
                kind = chance.choice(["promote", "rollback"])
                wanted = chance.choice([v for v in "123" if v != version_of(service)])
                code = promoter.do(kind, wanted, kill_after=chance.uniform(0, whole))
                killed += code == -signal.SIGKILL
                if agreeing(place, service) is None or place.tracking.promotion_lock.underway():
                    unsettled += 1
                    assert recover_interrupted(place.tracking, place.service, LIMITS)
                    wait_until_agreed(place, service)
                assert place.tracking.promotion_lock.underway() is None
                assert promoter.do(kind, wanted) == 0
                wait_until_agreed(place, service, wanted)
        assert set(statuses) == {200}
        assert killed > KILLS / 4, "most promotions were over before they could be killed"
        assert unsettled, "no kill came in the middle of a promotion"
        numbers = [entry.number for entry in place.tracking.ledger.entries()]
        assert numbers == list(range(1, len(numbers) + 1))
    finally:
        promoter.end()


@pytest.mark.slow
def test_of_two_promotions_at_once_one_wins_and_the_other_says_so(
    start: StartProcess, place: Place, service: Service
) -> None:
    def begun(version: str) -> RunningProcess:
        program = PROMOTER.replace("for line in sys.stdin:", f"for line in [{version!r}]:")
        program = program.replace("child = os.fork()", "sys.exit(run('promote', line))")
        command = [sys.executable, "-c", program, *promoter_arguments(place)]
        return start(command, name=f"version {version}")

    both = [begun("2"), begun("3")]
    codes = [process.wait(60) for process in both]
    if codes != [0, 0]:  # both may have gone, one after the other
        assert sorted(codes) == [0, 1]
        assert "Wait until it has ended" in both[codes.index(1)].log
    wait_until_agreed(place, service)
