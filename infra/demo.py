"""`make demo`: from nothing to a served prediction, in a scratch clone of the checkout.

It draws the sample, runs the training flow, starts the service, predicts one cracked and one clean
photograph over HTTP, shows the figures of the champion, stops what it started, and says how to look
at what was made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from cracks.dataset.labels import CRACK, NO_CRACK
from cracks.images.synthetic_concrete import draw_sample
from cracks.registry.model_card import metrics_table
from cracks.system.console import print_table
from cracks.workspace.reports import read_report
from cracks.workspace.stage_reports import EvaluateReport

CHECKOUT = Path(__file__).resolve().parent.parent
PLACE = CHECKOUT / ".demo"
WORKSPACE = PLACE / "workspace"
PREFECT_HOME = PLACE / "prefect"

#: Draws photographs that are not in the sample.
UNSEEN_SEED = 10

#: Seconds until the service must answer.
START_TIMEOUT = 60


def main() -> int:
    """Run the demo; return 0 when both photographs were predicted rightly."""
    start = time.monotonic()
    cracks = [str(Path(sys.executable).with_name("cracks")), "-C", str(WORKSPACE)]
    _say("Cloning this checkout to .demo/workspace")
    _clone()
    _say("Training on drawn photographs (`ingest.source=mendeley` has the real ones)")
    subprocess.run([*cracks, "train", "-S", "ingest.source=sample"], env=_environment(), check=True)
    _say("Serving the champion")
    with _service(cracks) as url:
        right = _predict(url)
    _show_champion()
    _show_commands(time.monotonic() - start)
    return 0 if right else 1


def _clone() -> None:
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    # Without hard links the clone can be moved or removed freely.
    command = ["git", "clone", "--quiet", "--no-hardlinks", str(CHECKOUT), str(WORKSPACE)]
    subprocess.run(command, check=True)


def _environment() -> dict[str, str]:
    elsewhere = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "CRACKS_SERVICE_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in elsewhere}
    return kept | {"PREFECT_HOME": str(PREFECT_HOME)}


@contextmanager
def _service(cracks: list[str]) -> Iterator[str]:
    command = [*cracks, "serve", "--open", "--port", "0", "--json"]
    with (PLACE / "service.log").open("w") as log:
        process = subprocess.Popen(
            command, env=_environment(), stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        line = process.stdout.readline() if process.stdout else ""
        url = json.loads(line)["url"]
        deadline = time.monotonic() + START_TIMEOUT
        while not _is_ready(url):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url}/ready does not answer")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready").is_success
    except httpx.TransportError:
        return False


def _predict(url: str) -> bool:
    photographs = dict(draw_sample(2, UNSEEN_SEED))
    expected = {"Negative/00001.jpg": NO_CRACK, "Positive/00001.jpg": CRACK}
    files = [("files", (name, content)) for name, content in photographs.items()]
    response = httpx.post(f"{url}/predict", files=files).raise_for_status()
    predictions = response.json()["predictions"]
    rows = [
        {"photograph": p["file"], "truth": expected[p["file"]], "prediction": p["label"]}
        | {"score": p["score"], "threshold": p["threshold"], "version": p["model_version"]}
        for p in predictions
    ]
    print_table(rows, f"POST {url}/predict", standard_output=True)
    return all(row["truth"] == row["prediction"] for row in rows)


def _show_champion() -> None:
    print("\nThe champion on held-out photographs:\n")
    print(metrics_table(read_report(WORKSPACE / "reports/evaluate.json", EvaluateReport)))


def _show_commands(seconds: float) -> None:
    print(
        f"""
Done in {seconds:.0f} s. The service is stopped. To look at what was made:

  MLflow runs and registry    make mlflow-ui WORKSPACE=.demo/workspace
  Prefect flow run            PREFECT_HOME={PREFECT_HOME} make prefect-ui
  TensorBoard                 make tensorboard WORKSPACE=.demo/workspace
  Data Docs                   {(WORKSPACE / "reports/data_docs/overview.html").as_uri()}
  Figures                     {WORKSPACE / "reports/figures"}
  The service                 .venv/bin/cracks -C .demo/workspace serve --open
"""
    )


def _say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
