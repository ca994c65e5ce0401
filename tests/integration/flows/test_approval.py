"""A person's approval in a real Prefect server: the run waits for the form, and follows it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import RunningProcess, StartProcess, wait_until
from servers import PrefectServer

from tests.integration.services import make_workspace

ASK = """
import json, sys
from prefect import flow
from prefect.runtime import flow_run
from flows.approval import ask_for_approval

REPORT = {
    "verdict": "undecided", "version": "4", "run_id": "0123456789abcdef",
    "reasons": ["test recall differs by 0.0010, from -0.0120 to 0.0140"],
}

@flow
def asking():
    print(flow_run.id, flush=True)
    answer = ask_for_approval(REPORT, float(sys.argv[1]))
    print(json.dumps(answer and answer.model_dump(include={"approve", "who", "why"})), flush=True)

asking()
"""

APPROVE = """
import json, sys
from prefect.runtime import flow_run
from flows.approval import approval

state = approval("4", workspace=sys.argv[1], reasons=("too few photographs",), return_state=True)
print(json.dumps(state.result()), flush=True)
"""


def asking(server: PrefectServer, start: StartProcess, hours: float) -> tuple[RunningProcess, str]:
    """Start a flow that asks, and return it with the id of its run once it waits."""
    process = start([sys.executable, "-c", ASK, str(hours)], variables=server.variables)
    run_id = process.wait_until(lambda: process.stdout.split(), "the run", timeout=60)[0]
    wait_until(lambda: server.flow_run(run_id)["state_type"] == "PAUSED", "the question")
    return process, run_id


def answer(server: PrefectServer, run_id: str, form: dict[str, Any]) -> dict[str, Any]:
    """Fill in the form and press Resume, as the UI does."""
    content: dict[str, Any] = server.ask("POST", f"/flow_runs/{run_id}/resume", {"run_input": form})
    return content


def test_a_form_without_name_or_reason_is_refused_and_a_whole_one_reaches_the_run(
    prefect_server: PrefectServer, start: StartProcess
) -> None:
    process, run_id = asking(prefect_server, start, 0.1)
    nameless = {"approve": True, "who": "", "why": ""}
    assert answer(prefect_server, run_id, nameless)["status"] == "REJECT"
    assert prefect_server.flow_run(run_id)["state_type"] == "PAUSED"
    form = {"approve": True, "who": "Ann", "why": "looked at every mistake"}
    assert answer(prefect_server, run_id, form)["status"] == "ACCEPT"
    assert process.wait(60) == 0, process.log
    assert json.loads(process.stdout.splitlines()[-1]) == form


@pytest.mark.slow
def test_where_nobody_answers_in_time_there_is_no_answer(
    prefect_server: PrefectServer, start: StartProcess
) -> None:
    process, _ = asking(prefect_server, start, 4 / 3600)
    assert process.wait(90) == 0, process.log
    assert process.stdout.splitlines()[-1] == "null"


def test_a_version_that_a_person_refuses_is_not_promoted_and_the_run_says_who_said_so(
    prefect_server: PrefectServer, start: StartProcess, tmp_path: Path
) -> None:
    workspace = make_workspace(tmp_path / "root")
    process = start([sys.executable, "-c", APPROVE, workspace], variables=prefect_server.variables)

    def waiting() -> list[dict[str, Any]]:
        return prefect_server.find(
            "flow_runs",
            flows={"name": {"any_": ["approval"]}},
            flow_runs={"state": {"type": {"any_": ["PAUSED"]}}},
        )

    (run,) = process.wait_until(waiting, "the question", timeout=60)
    form = {"approve": False, "who": "Ann", "why": "misses hairlines"}
    assert answer(prefect_server, run["id"], form)["status"] == "ACCEPT"
    assert process.wait(60) == 0, process.log
    said = json.loads(process.stdout.splitlines()[-1])
    assert said == {"promoted": False, "approval": "Ann said no: misses hairlines"}
