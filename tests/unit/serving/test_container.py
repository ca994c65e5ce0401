"""The container file of the service: small, pinned, no root, nothing to write but its folder."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch

import pytest
from containerfile import Stage, read_containerfile
from processes import CHECKOUT

FILE = CHECKOUT / "infra/serving.Containerfile"
IGNORED = FILE.with_name("serving.Containerfile.dockerignore")


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return read_containerfile(FILE)


@pytest.fixture(scope="module")
def image(stages: list[Stage]) -> Stage:
    """The last stage: what is in the image."""
    return stages[-1]


def copied(stage: Stage) -> list[str]:
    """Return what a stage copies from the checkout."""
    instructions = [one for one in stage.all("COPY") if not one.rest.startswith("--from")]
    return [source for one in instructions for source in one.words[:-1]]


def test_every_base_is_the_python_of_the_project_pinned_by_version_and_digest(
    stages: list[Stage],
) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.12"
    assert len(stages) == 2
    for stage in stages:
        assert re.fullmatch(
            r"docker\.io/library/python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", stage.base
        )


def test_it_holds_what_the_lock_says_of_the_group_serving(stages: list[Stage]) -> None:
    build = stages[0]
    assert [one.rest for one in build.all("ARG")] == ['GROUPS="--group serving"']
    installs = [one.rest for one in build.all("RUN") if one.rest.startswith("uv ")]
    assert len(installs) == 2
    for command in installs:
        assert command.startswith("uv sync --frozen --no-default-groups ${GROUPS} --no-")
    assert "uv.lock" in copied(build)


def test_the_image_has_nothing_of_what_it_was_built_with(image: Stage) -> None:
    assert [one.rest for one in image.all("COPY") if one.rest.startswith("--from")] == [
        "--from=build /opt/cracks /opt/cracks"
    ]
    assert image.all("ADD") == []
    assert [one.words[0] for one in image.all("RUN")] == ["install"]


def test_python_is_compiled_ahead_because_nothing_can_be_written_later(
    stages: list[Stage], image: Stage
) -> None:
    assert stages[0].variables["UV_COMPILE_BYTECODE"] == "1"
    assert image.variables["PYTHONDONTWRITEBYTECODE"] == "1"


def test_it_runs_as_a_user_that_is_not_root_and_known_by_number(image: Stage) -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", image.last("USER").rest)
    names = [one.name for one in image.instructions]
    assert "RUN" not in names[names.index("USER") :]


def test_all_that_is_written_goes_to_the_mounted_folder(image: Stage) -> None:
    (folder,) = image.last("VOLUME").words
    assert image.variables["CRACKS_SERVICE_DIR"] == image.variables["TMPDIR"] == folder


def test_its_health_is_asked_for_without_other_programs_where_it_listens(image: Stage) -> None:
    check = image.last("HEALTHCHECK").rest
    assert re.search(r'CMD \["python", "-c", ".*http://127\.0\.0\.1:8000/health', check)
    assert image.last("EXPOSE").rest == "8000"
    assert "8000" in image.last("CMD").words


def test_it_is_started_without_a_shell_so_that_it_hears_the_signal_to_end(image: Stage) -> None:
    assert image.last("CMD").rest.startswith("[")
    assert image.last("CMD").words[:4] == ["cracks", "serve", "--host", "0.0.0.0"]
    assert image.all("ENTRYPOINT") == []


def test_it_says_what_it_is(image: Stage) -> None:
    labels = " ".join(one.rest for one in image.all("LABEL"))
    for name in ("title", "description", "version", "revision", "base.name"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_what_it_copies_exists_and_is_let_in(stages: list[Stage]) -> None:
    let_in = [line[1:] for line in IGNORED.read_text().splitlines() if line.startswith("!")]
    wanted = [source for stage in stages for source in copied(stage)]
    assert sorted(set(wanted)) == sorted(let_in)
    for source in wanted:
        assert (CHECKOUT / source).exists(), source


def test_all_packages_of_the_project_are_in_it(stages: list[Stage]) -> None:
    wheel = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert set(wheel["targets"]["wheel"]["packages"]) <= set(copied(stages[0]))


def test_no_secret_and_no_data_can_get_in(stages: list[Stage]) -> None:
    first, *_ = [line for line in IGNORED.read_text().splitlines() if not line.startswith("#")]
    assert first == "*"  # all is left out that is not named
    let_in = [line[1:] for line in IGNORED.read_text().splitlines() if line.startswith("!")]
    for private in (".env", ".git", "service", "data", "models", ".dvc/config.local", "mlruns"):
        assert not any(fnmatch(private, name) or name == private for name in let_in)
