"""The flow `scoring`: a folder or a prefix of photographs through the champion, into Parquet."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.states import Failed
from pydantic import Field

from cracks.errors import CracksError, DataError, WorkspaceError
from cracks.storage.addresses import is_in_bucket
from cracks.system.console import Advance
from cracks.system.environment import apply_environment_defaults
from cracks.workspace.paths import open_workspace
from flows.artifacts import ShownProgress, publish_dashboard
from flows.starts import refuse_after_too_many_deaths
from flows.steps import done, step

logger = logging.getLogger("cracks.scoring")


# Prefect shows the types, the bounds and the words below `Args` in the form for a new run.
@flow(name="scoring", validate_parameters=True)
def scoring(
    photographs: Annotated[str, Field(min_length=1)],
    out: Annotated[str, Field(min_length=1)],
    workspace: Annotated[str, Field(min_length=1)] = ".",
    most_unreadable: Annotated[float, Field(ge=0, le=1)] = 0.1,
) -> Any:
    """Predict every photograph with the champion, as `cracks predict PHOTOGRAPHS --out OUT`.

    The same run again, or a run that was killed, does only what is missing.

    Args:
        photographs: a folder or a file, absolute or as seen from the workspace, or
            s3://BUCKET/PREFIX.
        out: where the predictions go, absolute or as seen from the workspace: one file
            NAME.parquet, or a folder of Parquet files.
        workspace: a checkout of this project, on the machine of the worker; its service folder, or
            that of the worker (CRACKS_SERVICE_DIR), names the champion.
        most_unreadable: the share of the photographs, from 0 to 1, that may be unreadable before
            the run fails; the predictions for the others are kept.

    Returns:
        What `cracks predict --json` prints. Where the run refuses, a failed state with the one line
        that says why and what to do.
    """
    apply_environment_defaults()
    logging.getLogger("cracks").setLevel(logging.INFO)
    try:
        refuse_after_too_many_deaths()
        if is_in_bucket(out):
            raise WorkspaceError(f"{out} is no folder or file. Give `out` one of the worker's.")
        paths = open_workspace(Path(workspace))
        source = photographs if is_in_bucket(photographs) else str(paths.root / photographs)
        summary = done(predict, paths.service, source, paths.root / out)
        _refuse_unreadable(summary, most_unreadable)
        return summary
    except CracksError as error:
        return Failed(message=str(error), data=error)


@step("answer")
def predict(service: Path, source: str, out: Path) -> dict[str, Any]:
    """Write the predictions that are missing, and publish what they say."""
    from cracks.cluster.dispatch import predict_files

    publish_dashboard("the predictions")
    summary = predict_files(service, [source], out, _progress)
    _publish(summary, out)
    logger.info(
        "%s × predicted by version %s, %s × now; %s × cannot be read.",
        f"{summary['answers']:,}",
        summary["model_version"],
        f"{summary['answered_now']:,}",
        f"{summary['unreadable']:,}",
    )
    return summary


def _refuse_unreadable(summary: dict[str, Any], most: float) -> None:
    from cracks.cluster.dispatch import refuse_if_nothing_was_readable

    refuse_if_nothing_was_readable(summary)
    share = summary["unreadable"] / (summary["answers"] + summary["unreadable"])
    if share > most:
        raise DataError(
            f"{summary['unreadable']:,} photographs ({share:.0%}) cannot be read; most_unreadable "
            f"is {most:.0%}. {summary['unreadable_list']} says why; the other predictions are kept."
        )


@contextmanager
def _progress(total: int) -> Iterator[Advance]:
    """Show in Prefect's UI how far the predictions have come."""
    bar = ShownProgress("scoring-progress", f"{total:,} photographs to predict")
    bar.show(0)
    done_now = 0

    def advance(count: int) -> None:
        nonlocal done_now
        done_now += count
        bar.show(done_now / total)

    yield advance
    bar.end(1)


def _publish(summary: dict[str, Any], out: Path) -> None:
    counts = {
        "crack": summary["cracks"],
        "no crack": summary["answers"] - summary["cracks"],
        "unlike the training data": summary["novel"],
        "cannot be read": summary["unreadable"],
        "predicted by this run": summary["answered_now"],
    }
    create_table_artifact(
        key="scoring",
        table=[
            {"photographs": name, "number": number}
            for name, number in counts.items()
            if number is not None
        ],
        description=f"Predictions of version {summary['model_version']}, run `{summary['run_id']}`",
    )
    places = {"scoring-answers": out, "scoring-unreadable": summary["unreadable_list"]}
    for key, place in places.items():
        if place:
            link = Path(place).resolve().as_uri()
            create_link_artifact(key=key, link=link, link_text=str(place), description=str(place))
