"""Registry events: a real MLflow server tells a real receiver, which believes nobody else."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import CHECKOUT, RunningProcess, StartProcess, environment
from servers import MlflowServer, tracking_address

from cracks.errors import TrackingError
from cracks.registry.mlflow_store.connection import Connection
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.mlflow_store.webhooks import EVENTS, Webhooks
from cracks.workspace.paths import Paths
from tests.integration.registered import register_version

SECRET = "0123456789abcdef-of-the-tests"
#: A key of Fernet, 32 bytes; MLflow encrypts the secrets in its database with it.
ENCRYPTION_KEY = "cracks-tests-" + "A" * 30 + "="


@dataclass(frozen=True)
class Events:
    """A tracking server, and a receiver of its events."""

    server: str
    receiver: str
    process: RunningProcess

    def infra(self, *arguments: str, secret: str = SECRET) -> subprocess.CompletedProcess[str]:
        """Run what `make webhook` runs."""
        variables = {"MLFLOW_TRACKING_URI": self.server, "CRACKS_WEBHOOK_SECRET": secret}
        return subprocess.run(
            [sys.executable, str(CHECKOUT / "infra/webhooks.py"), *arguments],
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def events(start_for_module: StartProcess, tmp_path_factory: pytest.TempPathFactory) -> Events:
    place = tmp_path_factory.mktemp("mlflow")
    server = MlflowServer.start(
        start_for_module,
        place,
        f"sqlite:///{place / 'mlflow.db'}",
        MLFLOW_WEBHOOK_ALLOWED_SCHEMES="http,https",
        MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS="true",
        MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY=ENCRYPTION_KEY,
        MLFLOW_WEBHOOK_CACHE_TTL="1",
    )
    process = start_for_module(
        [sys.executable, CHECKOUT / "docs/examples/webhook_receiver.py", "--port", "0"],
        variables={"CRACKS_WEBHOOK_SECRET": SECRET},
        name="receiver",
    )
    said = process.wait_until(lambda: process.stdout, "the address of the receiver")
    receiver = said.splitlines()[0].removeprefix("Receiving at ")
    return Events(server.url, receiver, process)


@pytest.fixture
def webhooks(events: Events, tmp_path: Path) -> Iterator[Webhooks]:
    with tracking_address(events.server):
        found = Webhooks(Connection(Paths(tmp_path)))
        yield found
    for one in found.list():
        found.remove(one.url)
    time.sleep(1.1)  # the server reads its list again after a second


def test_a_promotion_is_told_and_verified(
    events: Events, webhooks: Webhooks, tmp_path: Path
) -> None:
    webhooks.register(events.receiver, SECRET)
    model = f"model-{uuid.uuid4().hex[:8]}"
    tracking = Tracking(Paths(tmp_path), model)
    for _ in range(2):
        version = register_version(tracking, None)
        tracking.registry.move_aliases(champion=version, previous=None)
    expected = {f"version {version} of {model} was registered" for version in (1, 2)}
    expected |= {f"promotion: version {version} of {model} is the champion" for version in (1, 2)}
    events.process.wait_until(
        lambda: expected <= set(events.process.stdout.splitlines()), "the events", timeout=15
    )


def test_a_receiver_with_another_secret_believes_nothing(
    events: Events, webhooks: Webhooks
) -> None:
    before = events.process.stdout
    webhooks.register(events.receiver, "another secret of good length")
    with pytest.raises(TrackingError, match="did not accept the example: it responded 401"):
        webhooks.test(events.receiver)
    assert events.process.stdout == before
    webhooks.register(events.receiver, SECRET)
    assert webhooks.test(events.receiver) == f"{events.receiver} responded 204"
    assert [(one.url, one.events) for one in webhooks.list()] == [
        (events.receiver, tuple(sorted(EVENTS)))
    ]


@pytest.mark.slow
def test_webhooks_are_registered_tested_listed_and_removed_by_command(
    events: Events, webhooks: Webhooks
) -> None:
    registered = events.infra(events.receiver)
    assert registered.returncode == 0, registered.stderr
    assert "model_version_alias.created" in registered.stdout
    assert events.infra(events.receiver).returncode == 0
    assert len(webhooks.list()) == 1
    assert events.infra("--test", events.receiver).stdout.strip() == (
        f"{events.receiver} responded 204"
    )
    listed = events.infra()
    assert events.receiver in listed.stdout
    assert events.infra("--remove", events.receiver).returncode == 0
    assert events.infra().stdout == "No webhook is registered.\n"
    for done in (registered, listed):
        assert SECRET not in done.stdout + done.stderr


def test_without_a_secret_nothing_is_registered_and_that_is_told_in_one_line(
    events: Events,
) -> None:
    done = events.infra("http://127.0.0.1:1", secret="")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: CRACKS_WEBHOOK_SECRET is not set")


def test_an_address_or_a_secret_that_cannot_be_used_is_refused(
    events: Events, webhooks: Webhooks
) -> None:
    with pytest.raises(TrackingError, match="at least 16 characters"):
        webhooks.register(events.receiver, "short")
    with pytest.raises(TrackingError, match="Invalid webhook URL scheme"):
        webhooks.register("ftp://example.org", SECRET)
    for act in (webhooks.test, webhooks.remove):
        with pytest.raises(TrackingError, match=f"No webhook leads to {events.receiver}"):
            act(events.receiver)
    assert webhooks.list() == []


def test_a_local_store_says_that_it_tells_nobody(tmp_path: Path) -> None:
    with tracking_address(None), pytest.raises(TrackingError, match="only an MLflow server does"):
        Webhooks(Connection(Paths(tmp_path)))
