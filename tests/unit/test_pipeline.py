"""One contract: dvc.yaml, params.yaml, tasks/ and cracks/workspace/paths.py say the same."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cracks.workspace.params_file import known_keys
from cracks.workspace.paths import STAGES, Paths, Place
from tests.unit.builders import ROOT

PIPELINE: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")
PATHS = Paths(Path())

#: Places of Paths that no stage writes.
NO_OUTPUTS = {
    "params",
    "pipeline",
    "pipeline_lock",
    "service",
    "local_tracking",
    "mirror",  # the bucket itself keeps what is in it
    "checkpoints",  # of a training that was killed; gone when it is finished
    "relabels",  # written only where a stage refuses
}

#: Packages that carry results about, show them, or choose where work is done; they decide none.
CARRIERS = ("cracks/cluster/", "cracks/errors.py", "cracks/system/", "cracks/workspace/")

#: Parameters that follow from others.
DERIVED = {"mode": ("train.mode", "featurize.weights")}

each_stage = pytest.mark.parametrize("stage", STAGES)


def _entries(stage: str, kind: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a list in dvc.yaml with their options."""
    entries: dict[str, dict[str, Any]] = {}
    for entry in PIPELINE["stages"][stage].get(kind, []):
        entries |= entry if isinstance(entry, dict) else {entry: {}}
    return entries


def outputs_of(stage: str) -> dict[str, dict[str, Any]]:
    return _entries(stage, "outs") | _entries(stage, "metrics")


def _task(stage: str) -> ast.Module:
    return ast.parse((ROOT / f"tasks/{stage}.py").read_text(encoding="utf-8"))


def _imported(file: Path) -> set[str]:
    """Return the files of `cracks` that a module imports."""
    files = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cracks"):
            place = (node.module or "").replace(".", "/")
            inside = [f"{place}/{alias.name}.py" for alias in node.names]
            named = [f"{place}.py", *inside]
            files |= {name for name in named if (ROOT / name).is_file()}
    return files


def _reached(file: str) -> set[str]:
    """Return the files that decide results and that a module imports, at once or through others."""
    reached: set[str] = set()
    waiting = {file}
    while waiting:
        found = _imported(ROOT / waiting.pop()) - reached
        found = {name for name in found if not name.startswith(CARRIERS)}
        reached |= found
        waiting |= found
    return reached


def _touched(stage: str) -> set[str]:
    """Return the places that a stage names, as `paths.manifest` or `paths.report("ingest")`."""
    touched = set()
    for node in ast.walk(_task(stage)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="paths"), attr=name),
                args=[ast.Constant(value=argument)],
            ):
                touched.add(getattr(PATHS, name)(argument).as_posix())
            case ast.Attribute(value=ast.Name(id="paths"), attr=name):
                place = getattr(PATHS, name)
                if isinstance(place, Path) and name not in {"root", *NO_OUTPUTS}:
                    touched.add(place.as_posix())
    return touched


def _asked_for(stage: str) -> set[str]:
    """Return the parameters that a stage names itself, as `ingest.patch_size` or `train`."""
    asked = set()
    for node in ast.walk(_task(stage)):
        keys: list[str] = []
        while isinstance(node, ast.Attribute):
            keys.insert(0, node.attr.rstrip("_"))
            node = node.value
        if keys and isinstance(node, ast.Name) and node.id == "params":
            key = ".".join(keys)
            asked.update(DERIVED.get(key, (key,)))
    return asked


def _within(key: str, parents: set[str] | dict[str, Any]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _lies_in(file: str, places: set[str]) -> bool:
    return any(file == place or file.startswith(f"{place}/") for place in places)


def test_the_stages_are_those_of_the_code_and_in_its_order() -> None:
    assert tuple(PIPELINE["stages"]) == STAGES


@each_stage
def test_one_word_is_the_stage_its_file_and_its_function(stage: str) -> None:
    assert PIPELINE["stages"][stage]["cmd"] == f"python -m tasks {stage}"
    functions = {node.name: node for node in _task(stage).body if isinstance(node, ast.FunctionDef)}
    assert [argument.arg for argument in functions[stage].args.args] == ["params", "paths"]
    assert f"tasks/{stage}.py" in _entries(stage, "deps")
    assert (ast.get_docstring(_task(stage)) or "").startswith(f"{stage}: ")


@each_stage
def test_every_dependency_is_code_that_exists_or_the_output_of_an_earlier_stage(
    stage: str,
) -> None:
    earlier = {name for one in STAGES[: STAGES.index(stage)] for name in outputs_of(one)}
    for name in _entries(stage, "deps"):
        is_code = name.startswith(("cracks/", "tasks/"))
        assert (ROOT / name).exists() if is_code else name in earlier, name


@each_stage
def test_every_module_that_a_stage_reaches_is_a_dependency_or_lies_in_one(stage: str) -> None:
    named = {name for name in _entries(stage, "deps") if name.startswith("cracks/")}
    reached = _reached(f"tasks/{stage}.py")
    assert {file for file in reached if not _lies_in(file, named)} == set()


@each_stage
def test_no_code_is_a_dependency_that_the_stage_never_reaches(stage: str) -> None:
    named = {name for name in _entries(stage, "deps") if name.startswith("cracks/")}
    reached = _reached(f"tasks/{stage}.py")
    assert {name for name in named if not any(_lies_in(file, {name}) for file in reached)} == set()


@each_stage
def test_every_parameter_of_a_stage_exists_and_is_checked(stage: str) -> None:
    keys = known_keys()
    for name in _entries(stage, "params"):
        assert any(_within(key, {name}) for key in keys), name


@each_stage
def test_a_stage_depends_on_every_parameter_it_asks_for(stage: str) -> None:
    named = set(_entries(stage, "params"))
    for asked in _asked_for(stage):
        assert _within(asked, named) or any(_within(name, {asked}) for name in named), asked


def test_every_parameter_makes_some_stage_run_again() -> None:
    named = {name for stage in STAGES for name in _entries(stage, "params")}
    unused = [key for key in known_keys() if not _within(key, named)]
    # What must be reached to be registered, and what is watched, is the flows' business.
    assert {key.split(".")[0] for key in unused} == {"monitor", "promote", "register"}


@each_stage
def test_a_stage_writes_what_its_code_names_and_nothing_else(stage: str) -> None:
    report = PATHS.report(stage).as_posix()
    assert set(outputs_of(stage)) - _touched(stage) <= {report}
    assert _touched(stage) - set(outputs_of(stage)) <= set(_entries(stage, "deps"))


def test_every_place_that_has_a_name_is_the_output_of_one_stage() -> None:
    outputs = [name for stage in STAGES for name in outputs_of(stage)]
    places = {
        getattr(PATHS, name).as_posix()
        for name, member in vars(Paths).items()
        if isinstance(member, Place) and name not in NO_OUTPUTS
    }
    reports = {PATHS.report(stage).as_posix() for stage in STAGES}
    figures = {PATHS.figures(stage).as_posix() for stage in STAGES} & set(outputs)
    assert sorted(outputs) == sorted(places | reports | figures)


@each_stage
def test_the_report_is_the_metrics_and_lies_in_git(stage: str) -> None:
    (name, options), *others = _entries(stage, "metrics").items()
    assert (name, options["cache"], others) == (PATHS.report(stage).as_posix(), False, [])


def test_every_plot_is_drawn_from_an_output() -> None:
    outputs = {name for stage in STAGES for name in outputs_of(stage)}
    names = [next(iter(plot)) if isinstance(plot, dict) else plot for plot in PIPELINE["plots"]]
    assert names
    for name in names:
        assert name in outputs or any(name.startswith(f"{output}/") for output in outputs), name
