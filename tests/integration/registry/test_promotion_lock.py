"""The promotion lock: one process at a time, and a dead one's place is taken over."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from servers import MlflowServers, tracking_address

from cracks.errors import PromotionUnderway, TrackingError
from cracks.registry.mlflow_store.promotion_lock import PromotionIntent, PromotionLock
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.workspace.paths import Paths

ROUNDS = 10


@pytest.fixture(scope="module", params=["local", "postgresql"])
def address(request: pytest.FixtureRequest) -> str | None:
    """The address of a real tracking server, or None for the local database."""
    if request.param == "local":
        return None
    servers: MlflowServers = request.getfixturevalue("mlflow_servers")
    return servers(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture
def tracking(
    address: str | None, folder: Path, request: pytest.FixtureRequest
) -> Iterator[Tracking]:
    """A tracking store with a model for this test alone."""
    with tracking_address(address):
        yield Tracking(Paths(folder), request.node.name.partition("[")[0][-60:])


@pytest.fixture
def lock(tracking: Tracking) -> PromotionLock:
    return tracking.promotion_lock


def intent(**changed: Any) -> PromotionIntent:
    known: dict[str, Any] = {
        "kind": "promote",
        "version": "3",
        "why": "fewer missed cracks",
        "who": "Ann",
        "from_version": "2",
        "champion_before": "2",
        "previous_before": None,
        "in_service": None,
    }
    return PromotionIntent.of_this_process(**known).model_copy(update=changed)


def of_a_child() -> tuple[subprocess.Popen[bytes], PromotionIntent]:
    """Start a process; return it with its intent."""
    process = subprocess.Popen(["sleep", "60"])
    started = psutil.Process(process.pid).create_time() - psutil.boot_time()
    return process, intent(pid=process.pid, started=started)


def killed() -> PromotionIntent:
    """The intent of a process that was killed."""
    process, left = of_a_child()
    assert not left.may_be_taken_over
    process.kill()
    process.wait()
    return left


# --- taking it ------------------------------------------------------------------------------------


def test_nobody_has_the_lock_at_first_nor_when_it_was_released(lock: PromotionLock) -> None:
    mine = intent()
    assert lock.underway() is None
    for act, holder in ((lock.take, mine), (lock.release, None)):
        for _ in range(2):  # MLflow's client repeats a request whose response was lost
            act(mine)
            assert lock.underway() == holder


def test_whoever_comes_second_is_told_who_promotes_what_since_when(lock: PromotionLock) -> None:
    first, second = intent(), intent(who="Bob", version="4")
    lock.take(first)
    with pytest.raises(PromotionUnderway) as refusal:
        lock.take(second)
    said = str(refusal.value)
    assert "Ann began the promotion of version 3" in said
    assert all(part in said for part in (first.host, str(first.pid), first.at, "try again"))
    assert "\n" not in said
    assert not refusal.value.is_transient
    lock.release(second)  # nobody releases the lock of another
    assert lock.underway() == first


def test_two_models_have_two_locks(tracking: Tracking, lock: PromotionLock, folder: Path) -> None:
    other = Tracking(Paths(folder), f"other-{tracking.model_name}"[:60])
    first, second = intent(), intent()
    lock.take(first)
    other.promotion_lock.take(second)
    lock.release(first)
    assert other.promotion_lock.underway() == second


def test_the_lock_is_no_version_of_the_model(tracking: Tracking, lock: PromotionLock) -> None:
    lock.take(intent())
    assert tracking.registry.versions() == []
    assert tracking.registry.champion() is None
    with pytest.raises(TrackingError, match="has no version"):
        tracking.registry.version("1")


def test_what_somebody_else_has_put_there_is_told_of_with_a_remedy(
    tracking: Tracking, lock: PromotionLock
) -> None:
    tracking.connection.client.create_registered_model(lock.name)
    with pytest.raises(TrackingError, match=f"{lock.name} in MLflow does not say who.*Delete it"):
        lock.underway()
    with pytest.raises(TrackingError, match="Delete it"):
        lock.take(intent())


# --- taking it over -------------------------------------------------------------------------------


def test_the_place_of_a_killed_process_is_taken_over_once(lock: PromotionLock) -> None:
    left = killed()
    lock.take(left)
    mine = lock.take_over(left)
    assert lock.underway() == mine
    assert mine.transaction == left.transaction
    assert not mine.may_be_taken_over
    lock.release(left)  # it has no say any more
    with pytest.raises(PromotionUnderway):
        lock.take_over(left)
    assert lock.underway() == mine
    lock.release(mine)
    with pytest.raises(PromotionUnderway):
        lock.take_over(left)


def test_the_place_of_a_living_process_is_not_taken_over(lock: PromotionLock) -> None:
    left = intent()
    lock.take(left)
    with pytest.raises(PromotionUnderway, match="Wait until it has ended"):
        lock.take_over(left)


# --- dead or alive --------------------------------------------------------------------------------


def test_a_process_that_nobody_has_waited_for_yet_is_dead() -> None:
    process, left = of_a_child()
    process.kill()
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            pass
    assert left.may_be_taken_over
    process.wait()


def test_another_process_with_the_same_number_is_not_the_same() -> None:
    left = intent()
    assert left.model_copy(update={"started": left.started - 60}).may_be_taken_over


@pytest.mark.parametrize("elsewhere", [{"host": "another"}, {"pids": "pid:[1]"}])
def test_a_process_that_cannot_be_seen_counts_as_dead_after_a_while(elsewhere: Any) -> None:
    left = intent(pid=2**22 + 1, **elsewhere)
    assert not left.may_be_taken_over
    old = datetime.now(UTC) - timedelta(minutes=16)
    assert left.model_copy(update={"at": old.isoformat()}).may_be_taken_over


def test_whoever_waits_for_another_host_is_told_until_when(tmp_path: Path) -> None:
    with tracking_address(None):
        promotion_lock = Tracking(Paths(tmp_path), "model").promotion_lock
        left = intent(host="another", at="2999-01-01T10:00:00+00:00")
        promotion_lock.take(left)
        with pytest.raises(PromotionUnderway, match=r"on another .* after 2999-01-01T10:15"):
            promotion_lock.take_over(left)


def test_what_a_person_wrote_is_kept_in_one_line() -> None:
    known = intent().model_dump(include={"kind", "version", "from_version", "champion_before"})
    made = PromotionIntent.of_this_process(
        who="Ann\n", why=" two\nlines\x00", previous_before=None, in_service=None, **known
    )
    assert (made.who, made.why) == ("Ann", "two lines")


# --- two processes at once ------------------------------------------------------------------------


def contend(address: str | None, folder: Path, name: str, barrier: Any, results: Any) -> None:
    """Try `ROUNDS` times to take the lock, and then that of a dead process."""
    with tracking_address(address):
        promotion_lock = Tracking(Paths(folder), name).promotion_lock
        for _ in range(ROUNDS):
            mine = intent()
            barrier.wait(60)
            taken = won(promotion_lock.take, mine)
            barrier.wait(60)
            if taken:
                promotion_lock.release(mine)
                promotion_lock.take(intent(pid=2**22 + 1))
            barrier.wait(60)
            left = promotion_lock.underway()
            barrier.wait(60)
            taken_over = won(promotion_lock.take_over, left)
            barrier.wait(60)
            if taken_over:
                last = promotion_lock.underway()
                assert last
                promotion_lock.release(last)
            results.put((taken, taken_over))


def won(attempt: Any, wanted: Any) -> bool:
    try:
        attempt(wanted)
    except PromotionUnderway:
        return False
    return True


@pytest.mark.slow
def test_of_two_processes_that_want_the_lock_at_once_exactly_one_gets_it(
    tracking: Tracking, address: str | None, folder: Path
) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    given = (address, folder, tracking.model_name, barrier, results)
    processes = [spawn.Process(target=contend, args=given) for _ in range(2)]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in range(2 * ROUNDS)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert sum(taken for taken, _ in found) == ROUNDS
    assert sum(taken_over for _, taken_over in found) == ROUNDS
    assert tracking.promotion_lock.underway() is None
