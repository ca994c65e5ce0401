"""`python -m tasks STAGE`: run one stage in the workspace that is the current folder."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from cracks.errors import CracksError, ValidationFailed
from cracks.system.atomic_files import write_text
from cracks.system.environment import apply_environment_defaults
from cracks.training.networks.startup import load_tensorflow
from cracks.versioning.dvc_stages import MESSAGE_FILE
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import STAGES, Paths, open_workspace
from cracks.workspace.reports import write_report
from cracks.workspace.resource_usage import watched

#: Stages that build or train a network.
WITH_TENSORFLOW = ("featurize", "train")


def main(arguments: list[str]) -> int:
    """Run the named stage; return 0 when done, 1 for a refusal, 2 for wrong usage."""
    if len(arguments) != 1 or arguments[0] not in STAGES:
        print(f"usage: python -m tasks {{{','.join(STAGES)}}}", file=sys.stderr)
        return 2
    apply_environment_defaults()
    try:
        paths = open_workspace(Path.cwd())
        _run(arguments[0], paths)
    except CracksError as error:
        _tell(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(stage: str, paths: Paths) -> None:
    params = load_params(paths.params)
    if stage in WITH_TENSORFLOW:
        load_tensorflow()
    function = getattr(importlib.import_module(f"tasks.{stage}"), stage)
    try:
        with watched(paths.resources(stage)):
            report = function(params, paths)
    except ValidationFailed as error:
        write_report(paths.report(stage), error.report)
        raise
    write_report(paths.report(stage), report)


def _tell(message: str) -> None:
    if file := os.environ.get(MESSAGE_FILE):
        write_text(Path(file), message)
    else:
        print(f"error: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
