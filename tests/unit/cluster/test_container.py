"""The container file and the compose file of a cluster: pinned, no root, one thread a worker."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from containerfile import Stage, read_containerfile
from processes import CHECKOUT


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return read_containerfile(CHECKOUT / "infra/cluster.Containerfile")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = (CHECKOUT / "infra/cluster.compose.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def test_every_base_is_pinned_and_the_packages_are_those_of_the_lock(stages: list[Stage]) -> None:
    for stage in stages:
        assert re.fullmatch(
            r"docker\.io/library/python:3\.11\.\d+-slim-\w+@sha256:\w{64}", stage.base
        )
    installs = [one.rest for one in stages[0].all("RUN") if one.rest.startswith("uv ")]
    assert installs
    for command in installs:
        assert command.startswith("uv sync --frozen --no-default-groups --group cluster --no-")
    assert stages[-1].last("USER").rest == "10001:10001"


def test_what_it_copies_exists_and_is_let_in(stages: list[Stage]) -> None:
    ignored = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for one in stages[0].all("COPY"):
        for source in one.words[:-1]:
            assert (CHECKOUT / source).exists(), source
            assert f"!{source}" in ignored


def test_the_cluster_scales_by_workers_of_one_thread_that_end_with_their_scheduler(
    compose: dict[str, Any],
) -> None:
    worker, scheduler = compose["services"]["worker"], compose["services"]["scheduler"]
    command = worker["command"]
    assert command[:3] == ["dask", "worker", "tcp://scheduler:8786"]
    assert command[command.index("--nthreads") + 1] == "1"
    assert worker["deploy"]["resources"]["limits"]["cpus"] == "1"
    assert "--memory-limit" in command
    assert worker["restart"] == scheduler["restart"] == "unless-stopped"
    assert "container_name" not in worker
    assert "ports" not in worker
