"""Serving needs its own few packages only, and runs as its container file says: installed from
nothing but what that copies, as a user without rights, where it can write to its folder only.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from containerfile import Stage, read_containerfile
from packaging.requirements import Requirement
from processes import CHECKOUT, TOOLS, StartProcess, environment, free_port

from cracks.monitoring.prediction_log.reader import PredictionLog
from tests.integration.bundles import grey_image, hand_over, make_bundle
from tests.integration.services import ServiceProcess

BUILD, IMAGE = read_containerfile(CHECKOUT / "infra/serving.Containerfile")

PIPELINE_ONLY = {
    "boto3",
    "dvc",
    "great-expectations",
    "keras",
    "matplotlib",
    "mlflow",
    "mlflow-skinny",
    "opencv-python-headless",
    "pandas",
    "prefect",
    "scikit-learn",
    "sqlalchemy",
    "tensorboard",
    "tensorflow",
}

LIST_PACKAGES = """
import json
import re
from importlib.metadata import distributions
names = {re.sub("[-_.]+", "-", one.name).lower(): one.version for one in distributions()}
print(json.dumps(names))
"""


@dataclass(frozen=True)
class Container:
    """What the image would hold, below a folder in place of `/`."""

    root: Path
    seconds: float  # that installing took

    @property
    def environment(self) -> Path:
        return self.root / "opt/cracks"

    @property
    def workspace(self) -> Path:
        return self.root / "srv/cracks"

    @property
    def service(self) -> Path:
        return self.workspace / "service"

    @property
    def packages(self) -> dict[str, str]:
        command = [str(self.environment / "bin/python"), "-c", LIST_PACKAGES]
        listed = subprocess.run(command, env=environment(), check=True, capture_output=True)
        packages: dict[str, str] = json.loads(listed.stdout)
        return packages

    @property
    def variables(self) -> dict[str, str]:
        """The variables of the image, with the places of this one."""
        here = {name: value.replace("/srv/", f"{self.root}/srv/") for name, value in VARIABLES}
        path = here["PATH"].replace("/opt/", f"{self.root}/opt/")
        return here | {"PATH": path, "PYTHONPATH": ""}

    def command(self, line: list[str]) -> list[str]:
        """Return a command with the program of this place in place of its name."""
        return [str(self.environment / "bin" / line[0]), *line[1:]]


VARIABLES = list(IMAGE.variables.items())


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    """What the container file builds, in a folder that everybody may look into."""
    place = Path(tempfile.mkdtemp(prefix="cracks-image-"))
    place.chmod(0o755)
    try:
        yield built(place)
    finally:
        shutil.rmtree(place)


def built(place: Path) -> Container:
    sources = place / "build"
    copy_as_told(BUILD, sources)
    start = time.monotonic()
    # The last of these commands does what the one before it did, and installs the project.
    command = [one.rest for one in BUILD.all("RUN") if one.rest.startswith("uv sync")][-1]
    words = shlex.split(command.replace("${GROUPS}", "--group serving"))
    done = subprocess.run(
        [TOOLS / words[0], *words[1:], "--no-progress"],
        cwd=sources,
        env=environment(UV_PROJECT_ENVIRONMENT=str(place / "opt/cracks")),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - start
    shutil.rmtree(sources)  # the image does not have it
    container = Container(place, seconds)
    copy_as_told(IMAGE, container.workspace)
    hand_over(container.service, make_bundle(place / "bundle", novelty=True), "1")
    return container


def copy_as_told(stage: Stage, target: Path) -> None:
    """Copy from the checkout what a stage copies."""
    for copy in stage.all("COPY"):
        *names, to = copy.words
        for name in names:
            if name.startswith("--from") or copy.rest.startswith("--from"):
                continue
            source = CHECKOUT / name
            place = target / to / source.name if to.endswith("/") else target / to
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, place)


# --- what is installed ----------------------------------------------------------------------------


def test_exactly_the_packages_of_the_group_are_installed(container: Container) -> None:
    command = "export --frozen --no-default-groups --group serving --no-emit-project --no-hashes"
    listed = subprocess.run(
        [TOOLS / "uv", *command.split(), "--no-annotate", "--no-header", "--quiet"],
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    wanted = {
        one.name: str(one.specifier).removeprefix("==")
        for one in map(Requirement, listed.splitlines())
        if not one.marker or one.marker.evaluate()
    }
    packages = container.packages
    assert packages.pop("concrete-crack-mlops")
    assert packages == wanted


def test_nothing_of_the_pipeline_is_installed(container: Container) -> None:
    packages = set(container.packages)
    assert {"fastapi", "openvino", "uvicorn"} <= packages
    assert packages & PIPELINE_ONLY == set()


def test_it_is_installed_in_less_than_a_minute(container: Container) -> None:
    assert container.seconds < 60


def test_pages_and_templates_are_installed_with_it(container: Container) -> None:
    (packages,) = container.environment.glob("lib/python3.*/site-packages")
    assert (packages / "serving/app.py").is_file()
    templates = list((CHECKOUT / "cracks").rglob("*.jinja"))
    assert templates
    sources = [*(CHECKOUT / "serving/page").rglob("*"), *templates]
    shipped = {file.relative_to(CHECKOUT) for file in sources if file.is_file()}
    missing = [
        name
        for name in shipped
        if "__pycache__" not in name.parts and not (packages / name).exists()
    ]
    assert missing == []


# --- how it runs ----------------------------------------------------------------------------------

#: In a name space of its own: nothing can be written but $1, the rest is the command. Where Python
#: lies below /root, which others may not enter, an empty folder takes its place that has only that.
READ_ONLY = """
set -e
mount --bind "$1" "$1"
case "$2" in /root/*)
    mount --bind "$2" /mnt
    mount -t tmpfs -o mode=755 none /root
    mkdir -p "$2"
    mount --bind /mnt "$2"
esac
[ ! -d /dev/shm ] || mount -o remount,bind,ro /dev/shm
[ ! -d /root ] || mount -o remount,bind,ro /root 2>/dev/null || true
mount -o remount,bind,ro /
user=$3
shift 3
exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs "$@"
"""


@pytest.fixture(scope="module")
def locked(container: Container) -> list[str]:
    """What stands before a command so that it runs as in a container with --read-only."""
    user = IMAGE.last("USER").rest.partition(":")[0]
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("only root can take rights away and make file systems read-only")
    subprocess.run(["chown", "-R", user, container.service], check=True)
    script = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh"]
    return [*script, str(container.service), sys.base_prefix, user]


@contextmanager
def contained(
    start: StartProcess, container: Container, locked: list[str]
) -> Iterator[ServiceProcess]:
    """Run the command of the container file, as its user."""
    port = str(free_port())
    words = [port if word == "8000" else word for word in IMAGE.last("CMD").words]
    process = start(
        [*locked, *container.command(words)],
        variables=container.variables | {"CRACKS_SERVE_OPEN": "true"},
        cwd=container.workspace,
        name="the container's command",
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        process.wait_until(lambda: is_well(client), "the service")
        yield ServiceProcess(container.service, client, process)


@pytest.fixture(scope="module")
def running(
    start_for_module: StartProcess, container: Container, locked: list[str]
) -> Iterator[ServiceProcess]:
    with contained(start_for_module, container, locked) as service:
        yield service


def is_well(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").is_success
    except httpx.TransportError:
        return False


def test_it_serves_on_a_read_only_file_system_without_any_rights(running: ServiceProcess) -> None:
    (prediction,) = running.predict(column=grey_image(200))
    assert (prediction["label"], prediction["score"]) == ("crack", pytest.approx(200 / 255, 1e-4))
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("Uid:")]
    assert set(line.split()[1:]) == {IMAGE.last("USER").rest.partition(":")[0]}


#: Says in which of some folders a file can be made.
TRY_TO_WRITE = """
import sys, tempfile
for place in sys.argv[1:]:
    try:
        tempfile.TemporaryFile(dir=place)
        print(place)
    except OSError:
        pass
"""


def test_nothing_else_could_have_been_written(container: Container, locked: list[str]) -> None:
    """The name space in which it serves is as closed as it is meant to be."""
    places = (container.workspace, container.environment, container.service)
    tried = ["/tmp", "/var/tmp", "/dev/shm", *map(str, places)]
    done = subprocess.run(
        [*locked, str(container.environment / "bin/python"), "-c", TRY_TO_WRITE, *tried],
        env=environment(**container.variables),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(container.service)]


def test_a_photograph_is_inspected_there(running: ServiceProcess) -> None:
    photograph = grey_image(200, "JPEG", 900)
    response = running.client.post("/inspect", files={"photo": ("wall.jpg", photograph)})
    assert response.status_code == 200, response.text
    assert response.json()["label"] == "crack"
    for address in ("/", "/model", "/metrics", "/model/history"):
        assert running.client.get(address).status_code == 200, address


def test_the_health_check_of_the_container_file_tells_a_service_from_none(
    running: ServiceProcess, container: Container
) -> None:
    words = json.loads(IMAGE.last("HEALTHCHECK").rest.partition("CMD ")[2])

    def check(port: int) -> int:
        command = container.command([word.replace("8000", str(port)) for word in words])
        done = subprocess.run(command, env=environment(), capture_output=True, check=False)
        return done.returncode

    assert check(running.port) == 0
    assert check(free_port()) == 1


def test_predict_on_the_command_line_runs_there_too(
    start: StartProcess, container: Container, tmp_path: Path
) -> None:
    image = tmp_path / "column.png"
    image.write_bytes(grey_image(60))
    process = start(
        container.command(["cracks", "predict", str(image), "--json"]),
        variables=container.variables,
        cwd=container.workspace,
    )
    assert process.wait(30) == 0, process.log
    assert [row["label"] for row in json.loads(process.stdout)] == ["no crack"]


def test_sigterm_ends_it_with_every_prediction_recorded(
    start: StartProcess, container: Container, locked: list[str]
) -> None:
    with contained(start, container, locked) as service:
        (prediction,) = service.predict(column=grey_image(90))
        os.kill(service.process.pid, signal.SIGTERM)
        # uvicorn ends with the signal itself when all is done; the first process of a container
        # cannot.
        assert service.process.wait(15) in (0, -signal.SIGTERM), service.process.log
        (newest,) = PredictionLog(service.folder / "answers").recent(1)
        assert newest.prediction_id == prediction["prediction_id"]
