"""The flow `scoring` on a real server: answers, what the UI shows of them, resumed and refused."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dask_cluster import DaskCluster
from processes import RunningProcess, StartProcess
from servers import PrefectServer

from tests.integration.bundles import grey_image, hand_over, make_bundle
from tests.integration.services import make_workspace

SIZE = 32
GREYS = (10, 250, 90, 170, 40, 210)

#: Runs the flow once for each line, and prints what became of it.
SCORE = """
import json, sys
from cracks.system.environment import apply_environment_defaults
apply_environment_defaults()
from flows.scoring import scoring
for line in sys.argv[1:]:
    state = scoring(**json.loads(line), return_state=True)
    said = {"id": str(state.state_details.flow_run_id), "type": state.type.value}
    said |= {"message": state.message, "result": state.result(raise_on_failure=False)}
    print(json.dumps(said, default=str), flush=True)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with a champion, and six photographs and a broken one in `new`."""
    root = make_workspace(tmp_path / "root")
    hand_over(root / "service", make_bundle(tmp_path / "v1", size=SIZE, novelty=True), "1")
    (root / "new").mkdir()
    for number, grey in enumerate(GREYS):
        (root / f"new/{number}.png").write_bytes(grey_image(grey, "PNG", SIZE))
    (root / "new/broken.jpg").write_bytes(b"no image")
    return root


def score(
    server: PrefectServer, start: StartProcess, *orders: dict[str, Any], **variables: str
) -> list[dict[str, Any]]:
    process: RunningProcess = start(
        [sys.executable, "-c", SCORE, *(json.dumps(order) for order in orders)],
        variables={**server.variables, **variables},
        name="scoring",
    )
    assert process.wait(120) == 0, process.log
    return [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]


def artifacts(server: PrefectServer, run_id: str) -> dict[str, dict[str, Any]]:
    found = server.find("artifacts", flow_runs={"id": {"any_": [run_id]}})
    return {one["key"]: one for one in found}


def test_a_folder_is_answered_for_once_and_the_ui_shows_counts_progress_and_place(
    prefect_server: PrefectServer, start: StartProcess, workspace: Path
) -> None:
    order = {"photographs": "new", "out": "answers.parquet", "workspace": str(workspace)}
    lenient = order | {"most_unreadable": 0.5}
    first, again, strict = score(prefect_server, start, lenient, lenient, order)

    assert first["type"] == "COMPLETED", first
    out = workspace / "answers.parquet"
    assert sorted(Path(name).name for name in pq.read_table(out)["file"].to_pylist()) == [
        f"{number}.png" for number in range(len(GREYS))
    ]
    shown = artifacts(prefect_server, first["id"])
    rows = json.loads(shown["scoring"]["data"])
    counts = {row["photographs"]: row["number"] for row in rows}
    assert (counts["crack"] + counts["no crack"], counts["cannot be read"]) == (len(GREYS), 1)
    assert counts["predicted by this run"] == len(GREYS)
    assert float(shown["scoring-progress"]["data"]) == 100
    assert out.as_uri() in shown["scoring-answers"]["data"]
    assert "unreadable.csv" in shown["scoring-unreadable"]["data"]

    assert again["type"] == "COMPLETED"
    assert again["result"]["answered_now"] == 0
    assert again["result"]["answers"] == len(GREYS)

    # One of seven is more than a tenth: the run fails, and the predictions are kept.
    assert strict["type"] == "FAILED"
    assert strict["message"].startswith(
        "1 photographs (14%) cannot be read; most_unreadable is 10%"
    )
    assert "\n" not in strict["message"]


@pytest.mark.slow
def test_the_ui_links_the_cluster_that_answers(
    prefect_server: PrefectServer, start: StartProcess, workspace: Path, tmp_path: Path
) -> None:
    cluster = DaskCluster(start, tmp_path, variables={})
    cluster.start_scheduler()
    cluster.add_worker()
    cluster.wait_for_workers(1)
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "pier.png").write_bytes(grey_image(90, "PNG", SIZE))
    order = {"photographs": str(photographs), "out": "answers", "workspace": str(workspace)}
    store = tmp_path / "store"
    store.mkdir()
    on_cluster = {"DASK_SCHEDULER_ADDRESS": cluster.address, "CRACKS_CLUSTER_STORE": str(store)}
    (run,) = score(prefect_server, start, order, **on_cluster)
    assert (run["type"], run["result"]["answers"]) == ("COMPLETED", 1), run
    shown = artifacts(prefect_server, run["id"])
    link = re.search(r"\[Dask dashboard\]\((.+)\)", shown["cluster-dashboard"]["data"])
    assert link
    assert cluster.is_watched_at(link[1])
    assert float(shown["scoring-progress"]["data"]) == 100


@pytest.mark.slow
def test_without_a_champion_or_with_a_bad_place_it_refuses_in_one_line_and_writes_nothing(
    prefect_server: PrefectServer, start: StartProcess, workspace: Path
) -> None:
    order = {"photographs": "new", "out": "answers", "workspace": str(workspace)}
    elsewhere, missing = score(
        prefect_server,
        start,
        order | {"out": "s3://bucket/answers"},
        order | {"photographs": "nowhere"},
    )
    (workspace / "service/champion.json").unlink()
    (alone,) = score(prefect_server, start, order)
    messages = [run["message"] for run in (elsewhere, missing, alone)]
    assert {run["type"] for run in (elsewhere, missing, alone)} == {"FAILED"}
    assert messages[0].startswith("s3://bucket/answers is no folder or file")
    assert messages[1].startswith(f"There is no file or folder {workspace / 'nowhere'}")
    assert messages[2].startswith("No champion is in service yet")
    assert not any("\n" in message for message in messages)
    assert not (workspace / "answers").exists()
