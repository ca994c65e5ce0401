"""Publish what a stage found as Prefect artifacts: a table, words, and the pictures."""

from __future__ import annotations

import base64
import csv
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from cracks.cluster.settings import cluster_settings
from cracks.dataset.validate.results_page import expectations_table
from cracks.registry.gate import RegisterReport
from cracks.registry.model_card import metrics_table, reliability
from cracks.system.templates import render
from cracks.workspace.paths import Paths

if TYPE_CHECKING:
    from cracks.registry.promotion.transaction import PromotionReport

logger = logging.getLogger("cracks.flows")

#: Seconds between two reports of progress, each of which is a request to Prefect's server.
PROGRESS_INTERVAL = 2.0

#: Seconds to wait at the end of the work for a server that is slow to hear of it.
TELLING_TIMEOUT = 5.0


class ShownProgress:
    """One bar in Prefect's UI, as an artifact of the run.

    Threads tell the server, for which nobody waits where the process is to end: the work is not
    delayed by the server, does not fail with it, and can be interrupted.
    """

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description
        self._artifact: Any = None
        self._run = copy_context()
        self._telling: Thread | None = None
        self._last = 0.0

    def show(self, share: float) -> None:
        """Show how much is done, from 0 to 1, but no more often than the server can be asked."""
        is_telling = self._telling is not None and self._telling.is_alive()
        if not is_telling and time.monotonic() - self._last >= PROGRESS_INTERVAL:
            self._begin_to_tell(share)

    def end(self, share: float) -> None:
        """Show how much was done in the end."""
        self._wait()
        self._begin_to_tell(share)
        self._wait()

    def _begin_to_tell(self, share: float) -> None:
        self._last = time.monotonic()
        self._telling = Thread(target=self._run.run, args=(self._tell, 100 * share), daemon=True)
        self._telling.start()

    def _wait(self) -> None:
        if self._telling is not None:
            self._telling.join(TELLING_TIMEOUT)

    def _tell(self, percent: float) -> None:
        try:
            if self._artifact is None:
                self._artifact = create_progress_artifact(
                    percent, key=self._key, description=self._description
                )
            else:
                update_progress_artifact(self._artifact, percent)
        except Exception as error:  # the work must continue
            logger.debug("Prefect was not told of %s: %s", self._key, error)


@contextmanager
def cluster_progress(stage: str) -> Iterator[Callable[[float], None] | None]:
    """Show where a cluster can be watched that works for a stage, and how far it has come.

    Yields:
        What to call with how much is done, from 0 to 1, or None if no cluster works for it.
    """
    if stage != "featurize" or not cluster_settings():
        yield None
        return
    publish_dashboard("the features")
    bar, last = ShownProgress("featurize-progress", "Features by the cluster"), 0.0

    def show(share: float) -> None:
        nonlocal last
        last = share
        bar.show(share)

    yield show
    if last:  # on a terminal the stage draws a bar of its own and reports nothing
        bar.end(last)


def publish_stage(stage: str, report: Any, paths: Paths) -> None:
    """Publish the report and the figures of a DVC stage."""
    if stage == "validate":
        create_table_artifact(
            key="validate",
            table=expectations_table(report["expectations"]),
            description="The data's expectations",
        )
    elif stage == "evaluate":
        tables = {"metrics_table": metrics_table, "reliability": reliability}
        text = render("flows/evaluate_artifact.md.jinja", report=report, **tables)
        create_markdown_artifact(key="evaluate", markdown=text, description="Metrics")
        _publish_label_errors(paths)
    else:
        create_markdown_artifact(key=stage, markdown=as_markdown(stage, report), description=stage)
    for figure in sorted(paths.figures(stage).glob("*.png")):
        publish_figure(stage, figure)


def _publish_label_errors(paths: Paths) -> None:
    with paths.label_errors.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows:
        create_table_artifact(
            key="label-errors",
            table=rows,
            description=f"{len(rows):,} labels to look at again. Half of them are doubted; which, "
            f"{paths.label_errors_key.name} says afterwards.",
        )


def publish_verdict(report: RegisterReport) -> None:
    """Publish the verdict of `register` with its reasons and its comparison."""
    create_markdown_artifact(
        key="register",
        markdown=render("flows/register_artifact.md.jinja", report=report),
        description=f"Verdict: {report['verdict']}",
    )
    if report["limits"]:
        create_table_artifact(
            key="limits", table=report["limits"], description="What holds whatever the verdict"
        )
    if report["comparison"]:
        create_table_artifact(
            key="comparison",
            table=report["comparison"],
            description="Challenger and champion on today's test set",
        )


def publish_promotion(report: PromotionReport) -> None:
    """Publish which version is in service now."""
    create_markdown_artifact(
        key="promote",
        markdown=render("flows/promote_artifact.md.jinja", report=report),
        description="The champion",
    )


def publish_outcome(outcome: str) -> None:
    """Publish the one line that says what came of a training."""
    create_markdown_artifact(key="training", markdown=outcome, description="What came of it")


def publish_dashboard(made: str) -> None:
    """Publish where a cluster can be watched that makes "the features", say, if there is one."""
    cluster = cluster_settings()
    if not cluster:
        return
    from cracks.cluster.scheduler import dashboard_link

    create_link_artifact(
        key="cluster-dashboard",
        link=dashboard_link(cluster),
        link_text="Dask dashboard",
        description=f"The cluster at {cluster.address}, which makes {made}",
    )


def publish_figure(stage: str, figure: Path) -> None:
    """Publish a PNG as an image that needs no file server: its bytes are in the address."""
    encoded = base64.b64encode(figure.read_bytes()).decode()
    create_image_artifact(
        key=f"{stage}-{figure.stem.replace('_', '-')}",
        image_url=f"data:image/png;base64,{encoded}",
        description=figure.stem.replace("_", " "),
    )


def as_markdown(stage: str, report: Mapping[str, Any]) -> str:
    """Return the report of a stage as a Markdown table of its keys."""
    values = {
        key: json.dumps(value) if isinstance(value, (dict, list)) else value
        for key, value in report.items()
    }
    return render("flows/stage_artifact.md.jinja", stage=stage, report=values)
