"""`cracks sweep`: look for better parameters, by training many combinations on cached features."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cracks.errors import ParamsError, WorkspaceError
from cracks.system.console import print_table
from cracks.training.sweep.search_space import Space, combinations_of, options_of, space_of, written
from cracks.workspace.params import Params
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths, open_workspace

if TYPE_CHECKING:
    from cracks.training.sweep.study import History, Sweep, Trial

#: Seconds between two polls of what other processes still train.
POLL_INTERVAL = 0.5


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise typer.BadParameter("letters, digits and . _ - only, a letter or digit first.")
    return name


def sweep(
    context: typer.Context,
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="How many combinations it shall have in all.")
    ] = 20,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="KEY=VALUES",
            help="A key of `train` or `featurize` in params.yaml with a range LOW..HIGH, both "
            "above 0 and 10 times apart or more: on a logarithmic scale; whole numbers where the "
            "key takes those; or with a list A,B,C. May be repeated. Without it: learning rates, "
            "dropout, and batch size.",
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option("--name", callback=_file_name, help="Of the sweep; the same name resumes it."),
    ] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train many combinations of parameters, and say which has the least validation loss.

    Nothing but `sweeps/` and MLflow is written: params.yaml, the model and the champion stay. The
    split `test` is never looked at. Features are computed once for all trials that share them;
    those of params.yaml itself must be there (`dvc repro featurize`). A combination that
    params.yaml could not have is refused, which counts as a trial. Where there are fewer
    combinations than `--trials`, each is tried once.

    The same command resumes after Ctrl-C or a crash, and run several times at once it shares the
    trials between the processes. More `--trials` make a sweep longer; other data, other fixed
    parameters or other `--vary` need another `--name`.

    Examples: `cracks sweep`, `cracks sweep --trials 40 --vary train.learning_rate=0.0003..0.03
    --vary train.dropout=0..0.5`, `cracks sweep --name sizes --vary featurize.image_size=96,160`.
    """
    paths = open_workspace(context.obj)
    params = load_params(paths.params)
    space = space_of(vary or [], params)
    wanted = min(trials, combinations_of(space) or trials)
    found = _searched(paths, params, name, space, wanted)
    _show(found, name, context.obj, as_json)


def require_features(paths: Paths) -> None:
    """Refuse a workspace whose features are not those of its params.yaml.

    Raises:
        WorkspaceError: they are missing or out of date.
        WorkspaceBusy: another run works in the workspace.
    """
    from cracks.versioning.dvc_stages import locked_workspace, stage_is_up_to_date

    with locked_workspace(paths):
        if stage_is_up_to_date(paths, "featurize"):
            return
    raise WorkspaceError(
        f"{paths.features} is missing, or not what params.yaml and the data give. "
        f"Run `cd {paths.root} && dvc repro featurize` first."
    )


def _searched(paths: Paths, params: Params, name: str, space: Space, wanted: int) -> list[Trial]:
    from cracks.registry.mlflow_store.tracking import Tracking

    tracking = Tracking(paths, params.register_.model_name)  # says at once if it cannot be reached

    from cracks.training.networks.startup import load_tensorflow

    load_tensorflow()

    from cracks.cluster.dispatch import compute_features
    from cracks.registry.mlflow_store.sweep_runs import SweepRun
    from cracks.training.sweep.study import Sweep, run_trials
    from cracks.training.sweep.trials import Trainer

    require_features(paths)
    folder = paths.root / "sweeps"
    trainer = Trainer(params, paths, folder / "features", compute_features)
    searched = Sweep(folder, name, space, trainer.identity(space), params.train.seed)
    run = SweepRun(tracking, searched, params, paths)

    def learn(trial: Trial) -> History:
        _say(f"trial {trial.number} of {wanted}: {_in_words(trial)}")
        return trainer.learn(trial.values, searched.checkpoints(trial))

    def tell(trial: Trial) -> None:
        _say(f"  {_outcome(trial, searched)}")
        run.catch_up()

    try:
        run_trials(searched, wanted, learn, tell, _waiting())
    finally:
        run.close(wanted)
    return searched.trials()


def _waiting() -> Callable[[], None]:
    """Return a function that waits for other processes, and prints that once."""
    said: list[bool] = []

    def wait() -> None:
        if not said:
            said.append(True)
            _say("waiting for trials that other processes train")
        time.sleep(POLL_INTERVAL)

    return wait


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _in_words(trial: Trial) -> str:
    return ", ".join(f"{key} {written(value)}" for key, value in trial.values.items())


def _outcome(trial: Trial, searched: Sweep) -> str:
    from cracks.training.sweep.study import OBJECTIVE, ranked

    if trial.state == "refused":
        return f"refused: {trial.reason}"
    best = ranked(searched.trials())[0]
    said = f"validation loss {trial.best[OBJECTIVE]:.4f}"
    if best.number == trial.number:
        return f"{said}, the least so far"
    return f"{said}; the least so far is {best.best[OBJECTIVE]:.4f}, of trial {best.number}"


def _show(trials: list[Trial], name: str, workspace: Path, as_json: bool) -> None:
    from cracks.training.sweep.study import ranked

    refused = [trial for trial in trials if trial.state == "refused"]
    best_first = ranked(trials)
    command = _command(best_first[0], workspace) if best_first else None
    if as_json:
        rows = [_row(trial) for trial in (*best_first, *refused)]
        best = {**rows[0], "command": command} if best_first else None
        print(json.dumps({"name": name, "best": best, "trials": rows}, indent=2))
    else:
        keys = _differing(trials)
        rows = [_cells(trial, keys) for trial in best_first]
        print_table(rows, f"Sweep {name}", standard_output=True)
        reasons = [_numbered(trial, keys) | {"reason": trial.reason} for trial in refused]
        print_table(reasons, "Refused combinations", standard_output=True)
        if command:
            print(f"Train the best of them: {command}")
    if not best_first:
        raise ParamsError(
            f"None of the {len(trials)} combinations could be trained: {refused[0].reason}. "
            "Choose other --vary and another --name."
        )


def _command(best: Trial, workspace: Path) -> str:
    place = "" if workspace == Path() else f" -C {shlex.quote(str(workspace))}"
    return f"cracks{place} train {options_of(best.values)}"


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "params": dict(trial.values),
        **{name: value for name, value in trial.best.items() if name != "epoch"},
        "epochs": len(trial.history),
        **({"reason": trial.reason} if trial.reason else {}),
    }


def _differing(trials: list[Trial]) -> list[str]:
    """Return the keys that tell the trials apart; all, where nothing does."""
    keys = list(trials[0].values)
    several = [key for key in keys if len({written(one.values[key]) for one in trials}) > 1]
    return several or keys


def _cells(trial: Trial, keys: list[str]) -> dict[str, Any]:
    return {
        **_numbered(trial, keys),
        "validation loss": trial.best["val_loss"],
        "validation accuracy": trial.best["val_accuracy"],
        "epochs": len(trial.history),
    }


def _numbered(trial: Trial, keys: list[str]) -> dict[str, Any]:
    return {"trial": trial.number, **{key: written(trial.values[key]) for key in keys}}
