"""The flow `monitoring`: what was predicted since the last run, and whether to train again."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

from prefect import flow
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.events import emit_event
from prefect.states import Failed
from pydantic import Field

from cracks.errors import CracksError, TrackingError
from cracks.monitoring.history import (
    Signal,
    TopContributor,
    Window,
    place_of_monitoring,
    read_live_accuracy,
    read_picture,
    read_windows,
    write_picture,
    write_report,
    write_window,
)
from cracks.system.environment import apply_environment_defaults
from cracks.system.templates import render
from cracks.workspace.params import Params
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths, open_workspace
from flows.starts import refuse_after_too_many_deaths
from flows.steps import done, step

logger = logging.getLogger("cracks.monitoring")

#: The event that `infra/deployment/automations.yaml` waits for.
EVENT = "cracks.drift"

#: Windows among which one may be that a killed run did not tell of.
LOOKED_BACK = 48


# Prefect shows the types, the bounds and the words below `Args` in the form for a new run.
@flow(name="monitoring", validate_parameters=True)
def monitoring(workspace: Annotated[str, Field(min_length=1)] = ".") -> Any:
    """Judge every window since the last run, and request a training where a rule fires.

    The same run again, or a run that was killed, judges nothing twice and requests nothing twice.

    Args:
        workspace: a checkout of this project, on the machine of the worker; its service folder, or
            that of the worker (CRACKS_SERVICE_DIR), has the champion and the record of predictions.

    Returns:
        How many windows were judged, what fired, and the reason of the training that was requested.
    """
    apply_environment_defaults()
    logging.getLogger("cracks").setLevel(logging.INFO)
    try:
        refuse_after_too_many_deaths()
        paths = open_workspace(Path(workspace))
        params = load_params(paths.params)
        windows = done(poll, params, paths, datetime.now(UTC))
        requesting = _to_be_told(paths)
        for window in requesting:
            done(request_training, window, place_of_monitoring(paths.service))
        return {
            "windows": len(windows),
            "judged": sum(window.judged for window in windows),
            "answers": sum(window.answers for window in windows),
            "fired": sorted({name for window in windows for name in window.fired}),
            "asked_for_training": [window.reason for window in requesting],
        }
    except CracksError as error:
        return Failed(message=str(error), data=error)


@step("look")
def poll(params: Params, paths: Paths, now: datetime) -> list[Window]:
    """Judge the windows, write their history, and publish what the last one says."""
    from cracks.monitoring.drift.watch import open_baseline, watch
    from cracks.monitoring.window_report import draw_top_contributors, window_page

    watched = open_baseline(paths.service, params.monitor)
    place = place_of_monitoring(paths.service)

    def draw(window: Window, movers: Sequence[TopContributor]) -> str:
        picture = draw_top_contributors(paths, movers)
        if picture is None:
            return ""
        name = f"{window.begin:%Y%m%dT%H%M%SZ}.png"
        write_picture(place, name, picture)
        return name

    new_data = _new_data(params, paths, watched.champion.run_id)
    windows = watch(paths.service, watched, params.monitor, now, new_data=new_data, draw=draw)
    if not windows:
        logger.info("no hour has ended since the last run, or nothing was predicted")
        return windows
    for window in windows:
        _say(window)
    last = windows[-1]
    picture = read_picture(place, last.picture)
    write_report(place, window_page(last, picture))
    _publish(last, picture, paths)
    return windows


@step("ask for training")
def request_training(window: Window, place: str) -> None:
    """Tell Prefect's server, whose automation starts the training, and remember that."""
    emit_event(
        event=EVENT,
        resource={"prefect.resource.id": "cracks.service"},
        payload={"reason": window.reason, "window": window.begin.isoformat()},
        # Told again after a retry, it is the same event.
        id=uuid5(NAMESPACE_URL, f"cracks:drift:{window.run_id}:{window.begin.isoformat()}"),
    )
    write_window(place, window.model_copy(update={"told": True}))
    logger.info("a training is requested: %s", window.reason)


def _to_be_told(paths: Paths) -> list[Window]:
    newest = read_windows(place_of_monitoring(paths.service), LOOKED_BACK)
    return [window for window in newest if window.asked_for_training and not window.told]


def _new_data(params: Params, paths: Paths, run_id: str) -> Signal | None:
    """Return what newly ingested data looks like, or None where MLflow cannot say what is new."""
    from cracks.monitoring.drift.new_data import measure_new_data
    from cracks.registry.mlflow_store.tracking import Tracking

    try:
        return measure_new_data(
            paths,
            lambda: Tracking(paths, params.register_.model_name).runs.patch_ids(run_id),
            params.validate_.max_drift,
        )
    except TrackingError as error:
        logger.warning("newly ingested data is not judged: %s", error)
        return None


def _say(window: Window) -> None:
    hours = f"{window.begin:%Y-%m-%d %H:%M} to {window.end:%H:%M}"
    if not window.judged:
        logger.info("%s: %d predictions, too few to judge", hours, window.answers)
        return
    evidence = ", ".join(f"{one.name} {one.evidence:.3g}" for one in window.signals if one.needed)
    logger.info("%s: %s predictions; evidence: %s", hours, f"{window.answers:,}", evidence)
    if window.fired and not window.asked_for_training:
        logger.warning("%s fired; no training is requested", ", ".join(window.fired))
    for skipped in window.skipped:
        logger.warning("a damaged part of the record was left out: %s", skipped)


def _publish(window: Window, picture: bytes | None, paths: Paths) -> None:
    from cracks.monitoring.window_report import (
        accuracy_row,
        outcome_of,
        signal_rows,
        top_contributor_rows,
    )

    outcome = outcome_of(window, picture)
    text = render("flows/monitoring_artifact.md.jinja", window=window, outcome=outcome)
    create_markdown_artifact(key="monitoring", markdown=text, description="What was found")
    if window.signals:
        create_table_artifact(
            key="monitoring-signals", table=signal_rows(window), description="Signals"
        )
    if window.movers:
        create_table_artifact(
            key="monitoring-movers",
            table=top_contributor_rows(window.movers),
            description="The predictions least like the data set",
        )
    if picture:
        encoded = base64.b64encode(picture).decode()
        create_image_artifact(
            key="monitoring-pictures",
            image_url=f"data:image/png;base64,{encoded}",
            description="What moved it, beside the nearest that it was trained on",
        )
    with suppress(CracksError, OSError):
        live = read_live_accuracy(place_of_monitoring(paths.service))
        if live and live.labelled:
            create_table_artifact(
                key="live-accuracy",
                table=[dict(accuracy_row(live))],
                description="How right the service was, by the labels that people gave",
            )
