"""The compose files: containers that are held short, of images that are pinned."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from containerfile import read_containerfile
from ruamel.yaml import YAML

from infra.stack.services import FILE
from infra.stack.settings import PORTS, SECRETS, port_variable
from tests.unit.builders import ROOT

VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")

#: What a person may set for the worker and for notifications.
PASSED_ON = set(
    re.findall(
        r"^# (CRACKS_(?:NOTIFY|GIT)_\w+)=",
        (ROOT / ".env.example").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
)

#: A version that is whole, and perhaps a digest.
PINNED = r"[\w./-]+:\d+\.\d+(\.\d+)?[\w.-]*(@sha256:[0-9a-f]{64})?"

PYTHON = r"docker\.io/library/python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}"

#: The usual value of each variable that need not be set.
USUAL = (
    {port_variable(name): str(port) for name, port in PORTS.items()}
    | {f"CRACKS_{name.upper()}_HOST": name for name in PORTS}
    | dict.fromkeys(PASSED_ON, "")
    | {"CRACKS_LISTEN": "0.0.0.0"}
)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(FILE)
    return content


def test_every_variable_has_a_value() -> None:
    text = FILE.read_text(encoding="utf-8")
    found = set(VARIABLE.findall(text))
    assert {name for name, *_ in found} >= {*SECRETS, *map(port_variable, PORTS), *PASSED_ON}
    for name, kind, rest in found:
        if name in SECRETS:
            assert (kind, rest) == ("?", "run make secrets"), name
        else:
            assert (kind, rest) == ("-", USUAL[name]), name
    # A dollar sign that begins no variable would be one that is not closed.
    assert "$" not in VARIABLE.sub("", text)


def test_every_image_is_pinned(compose: dict[str, Any]) -> None:
    images = {name: part["image"] for name, part in compose["services"].items()}
    for name, part in compose["services"].items():
        if "build" in part:
            file = part["build"]["dockerfile"]
            images |= {f"{file} {one.base}": one.base for one in read_containerfile(ROOT / file)}
            assert (ROOT / "infra" / part["build"]["context"]).resolve() == ROOT, name
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, image in images.items():
        assert re.fullmatch(PINNED, image), f"{name}: {image}"
        if image.startswith("concrete-crack-mlops/"):
            assert image.endswith(f":{version['version']}"), f"{name}: {image}"


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("mlflow", "--only-group mlflow-server"),
        ("worker", "--no-default-groups --group pipeline --group serving"),
        ("cluster", "--no-default-groups --group cluster"),
    ],
)
def test_an_image_holds_the_versions_of_the_lock_and_what_of_the_checkout_is_let_in(
    name: str, groups: str
) -> None:
    build, image = read_containerfile(ROOT / f"infra/{name}.Containerfile")
    for stage in (build, image):
        assert re.fullmatch(PYTHON, stage.base)
    commands = [one.rest for one in build.all("RUN")]
    assert any("pip install" in one and "uv==[0-9.]*" in one for one in commands)  # pyproject's
    installs = [one for one in commands if "uv sync" in one]
    assert installs
    assert all(one.startswith(f"uv sync --frozen {groups} --no-") for one in installs)
    assert image.last("USER").rest == "10001:10001"
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for one in build.all("COPY"):
        for source in one.words[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored


def test_people_are_told_and_git_is_found_by_the_variables_of_make_up(
    compose: dict[str, Any],
) -> None:
    parts = compose["services"]
    for name, begin in (("deployments", "CRACKS_NOTIFY_"), ("worker", "CRACKS_GIT_")):
        expected = {one: f"${{{one}:-}}" for one in PASSED_ON if one.startswith(begin)}
        assert len(expected) >= 3
        assert expected.items() <= parts[name]["environment"].items()


@pytest.mark.parametrize("name", ["compose.yaml", "cluster.compose.yaml"])
def test_a_container_may_do_no_more_than_it_must(name: str) -> None:
    content = YAML(typ="safe").load(ROOT / "infra" / name)
    for part in content["services"].values():
        assert part["read_only"] is True, part
        assert part["cap_drop"] == ["ALL"], part
        assert part["security_opt"] == ["no-new-privileges:true"], part
        assert not part["user"].startswith("0"), part
        assert set(part["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, part
        assert "privileged" not in part, part
        for port in part.get("ports", ()):
            assert port.startswith("127.0.0.1:"), part


def test_the_cluster_scales_by_workers_of_one_thread_that_end_with_their_scheduler() -> None:
    parts = YAML(typ="safe").load(ROOT / "infra/cluster.compose.yaml")["services"]
    worker, scheduler = parts["worker"], parts["scheduler"]
    command = worker["command"]
    assert command[:3] == ["dask", "worker", "tcp://scheduler:8786"]
    assert command[command.index("--nthreads") + 1] == "1"
    assert worker["deploy"]["resources"]["limits"]["cpus"] == "1"
    assert "--memory-limit" in command
    assert worker["restart"] == scheduler["restart"] == "unless-stopped"
    assert "container_name" not in worker
    assert "ports" not in worker


def test_who_answers_strangers_reaches_the_storage_of_its_record_and_nothing_else(
    compose: dict[str, Any],
) -> None:
    assert "ports" not in compose["services"]["postgresql"]
    assert compose["networks"]["data"] == {"internal": True}
    reached = set(compose["services"]["serving"]["networks"])
    beside = {name for name in PORTS if reached & set(compose["services"][name]["networks"])}
    assert beside == {"serving", "s3"}


def test_what_must_outlive_a_container_is_in_a_volume(compose: dict[str, Any]) -> None:
    used = set()
    for name, part in compose["services"].items():
        volumes = dict(volume.split(":") for volume in part.get("volumes", ()))
        used |= set(volumes)
        settings = " ".join([*part["command"], *part["environment"].values()])
        for place in re.findall(r"/(?:srv|var/lib)/[\w/]+", settings):
            assert place.startswith(tuple(volumes.values())), f"{name}: {place}"
    assert used == set(compose["volumes"])
    assert used == {"databases", "storage", "service", "prefect", "workspaces"}


def test_every_service_says_whether_it_is_healthy_and_who_waits_for_it(
    compose: dict[str, Any],
) -> None:
    parts = compose["services"]
    for name in PORTS:
        assert parts[name]["healthcheck"]["test"][0] == "CMD"
        assert parts[name]["restart"] == "unless-stopped"
    for name, part in parts.items():
        for needed, how in part.get("depends_on", {}).items():
            asked = "service_healthy" if needed in PORTS else "service_completed_successfully"
            assert how == {"condition": asked}, (name, needed)


def test_no_image_takes_in_secrets_or_data() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"  # everything that is not named below
    assert not {"!.stack", "!data", "!models", "!service", "!.git"} & set(ignored)
