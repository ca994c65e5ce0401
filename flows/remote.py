"""The flow `remote-training`: on a machine with a git URL, a DVC remote and credentials only."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Failed

from cracks.errors import CracksError
from cracks.registry.gate import Decision
from cracks.system.environment import apply_environment_defaults
from cracks.versioning.dvc_data import pull_data
from cracks.versioning.dvc_stages import locked_workspace
from cracks.versioning.git_results import Pushed, has_news, push_results
from cracks.versioning.remote_training import (
    BUNDLE,
    RECORDED,
    RemoteTrainingRequest,
    RemoteWorkspace,
    describe_commit,
    prepare,
    publish,
    request_of,
    scratch_place,
)
from cracks.versioning.run_folder import scratch_folder
from cracks.workspace.params import Params
from cracks.workspace.params_file import load_params
from cracks.workspace.paths import Paths
from cracks.workspace.reports import read_report
from cracks.workspace.stage_reports import EvaluateReport
from flows.starts import refuse_after_too_many_deaths
from flows.steps import done, step
from flows.training import judge_and_promote, run_stages

logger = logging.getLogger("cracks.remote")


@flow(name="remote-training", validate_parameters=True)
def remote_training(
    repository: str = "",
    branch: str = "",
    revision: str = "",
    results: str = "retrained/{branch}",
    storage: str = "",
    accept_relabels: bool = False,
) -> Any:
    """Clone, bring up to date what is not, give back data, dvc.lock and reports, then register.

    Args:
        repository: git URL of the project, without a password; empty: CRACKS_GIT_URL.
        branch: where code and params.yaml come from; empty: CRACKS_GIT_BRANCH, or main.
        revision: a commit of that branch; empty: its tip.
        results: the branch that dvc.lock and reports go to, and that the next run starts from;
            `{branch}` and `{date}` stand for what they say.
        storage: where DVC keeps data, s3://BUCKET/PREFIX; empty: CRACKS_DVC_REMOTE, or what the
            project's own .dvc/config names.
        accept_relabels: whether stored photographs may get another label.

    Returns:
        What `training` returns, with the commit and the branch of the results. Where something
        refuses, a failed state with the one line that says why and what to do.
    """
    apply_environment_defaults()
    logging.getLogger("cracks").setLevel(logging.INFO)
    try:
        refuse_after_too_many_deaths()
        request = request_of(repository, branch, revision, results, storage, os.environ)
        with scratch_folder(scratch_place(), str(flow_run.id)) as folder:
            site = done(prepare_workspace, request, folder)
            with locked_workspace(site.paths):
                return _train(site, accept_relabels)
    except CracksError as error:
        return Failed(message=str(error), data=error)


def _train(site: RemoteWorkspace, accept_relabels: bool) -> dict[str, object]:
    paths = site.paths
    params = load_params(paths.params)
    stages: dict[str, str] = {}
    run_stages(params, paths, accept_relabels, stages, lazily=True)
    ran = [stage for stage, how in stages.items() if how == "ran"]
    decision = done(previewed_verdict, params, paths)
    pushed = done(publish_results, site, decision, ran)
    # The folder that promotion hands bundles over through must outlive this run.
    may_promote = bool(os.environ.get("CRACKS_SERVICE_DIR"))
    result = judge_and_promote(params, paths, stages, may_promote=may_promote)
    if result["action"] == "promote" and not may_promote:
        logger.info(
            "Version %s may go into service: `cracks promote %s` where the service is "
            "(CRACKS_SERVICE_DIR is not set here)",
            *(result["version"], result["version"]),
        )
    return {**result, "commit": pushed.commit, "branch": pushed.branch}


@step("prepare")
def prepare_workspace(request: RemoteTrainingRequest, folder: Path) -> RemoteWorkspace:
    """Clone, take up earlier results, and see that git and DVC may be written to."""
    return prepare(request, folder)


@step("judge")
def previewed_verdict(params: Params, paths: Paths) -> Decision:
    """Return the verdict for the message of the commit; bring what judging and recording read."""
    from cracks.registry.mlflow_store.tracking import Tracking
    from cracks.registry.registration import cached_verdict, preview_verdict, read_challenger

    pull_data(paths, BUNDLE)
    tracking = Tracking(paths, params.register_.model_name)
    challenger = read_challenger(params, paths)
    reached = cached_verdict(challenger, tracking)
    if reached is not None:
        return reached
    pull_data(paths, RECORDED)
    return preview_verdict(challenger, tracking)


@step("publish")
def publish_results(site: RemoteWorkspace, decision: Decision, ran: Sequence[str]) -> Pushed:
    """Push data, dvc.lock and reports, so that nothing is registered that nobody can rebuild."""
    if not has_news(site.clone):
        logger.info("Nothing new to give back")
        return push_results(site.clone, spare="")
    run = str(flow_run.id)
    evaluation = read_report(site.paths.report("evaluate"), EvaluateReport)
    message = describe_commit(site, evaluation, decision.verdict, decision.reasons, run, list(ran))
    return publish(site, message, run)
