"""Predictions drift, people label some, a rule starts a training, and the next model is better."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from processes import TOOLS, StartProcess, wait_until
from servers import PrefectServer

from cracks.images.synthetic_concrete import draw_sample
from cracks.inference.bundle.bundle import Bundle
from cracks.inference.bundle.classifier import Classifier
from cracks.inference.handover.champion import open_champion
from cracks.monitoring.history import place_of_monitoring, read_picture, read_windows
from cracks.monitoring.prediction_log.feature_projection import sketch
from cracks.monitoring.prediction_log.part_files import PartFolder
from cracks.monitoring.prediction_log.schema import as_table
from cracks.monitoring.window_report import window_page
from cracks.system.hashing import digest_of_bytes
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table
from serving.engine.predict import recorded
from tests.e2e.conftest import LITTLE_EVALUATION, Workspace
from tests.unit.builders import encoded

pytestmark = pytest.mark.slow

#: Photographs of the old kind that are trained on; with 500 the small network has to give up some
#: of what it knew.
PATCHES = 1500

SMALL = [
    "ingest.source=sample",
    f"ingest.sample.patches={PATCHES}",
    "featurize.image_size=64",
    "train.epochs=25",
    *LITTLE_EVALUATION,
    # So small a network finds every crack only if it calls everything a crack.
    "evaluate.min_crack_recall=0.8",
    "register.limits={}",
    # How the gate decides is tested elsewhere. Here its test set is small, and which of two models
    # finds more cracks hangs on the threshold of each.
    "register.verdicts.undecided=promote",
    "register.verdicts.worse=promote",
]

#: Photographs of the new kind that are labelled, that nobody labels, and that no model ever sees.
LABELLED, UNLABELLED, HELD_OUT = 400, 134, 1000

#: Photographs of the old kind that no model ever sees, and the loss of area under the ROC curve
#: that is ruled out there. Six pairs of such trainings (four seeds; oneDNN with AVX-512, with AVX2
#: alone, and off) changed it by -0.001 to +0.030 on the old kind and by +0.134 to +0.218 on the new
#: one. A training on the new kind alone lost 0.170 on the old one.
OLD_HELD_OUT, MARGIN = 1000, 0.05

#: Standard errors between what is measured and what is claimed: one claim in 700 is wrong.
CERTAIN = 3

#: Hours of predictions.
HOURS = 8

Photographs = list[tuple[bytes, str]]  # each with its label


@dataclass(frozen=True)
class Site:
    """A workspace with its first champion, whose predictions have drifted."""

    workspace: Workspace
    service: Path
    bundle: Bundle  # the first champion's
    originals: Path
    labels: Path  # CSV


def of_old_kind(count: int, seed: int) -> Photographs:
    return [
        (content, "crack" if "Positive" in name else "no crack")
        for name, content in draw_sample(count, seed)
    ]


def of_new_kind(count: int, seed: int) -> Photographs:
    """Return negatives of photographs: light cracks on dark concrete."""
    found = []
    for content, label in of_old_kind(count, seed):
        inverted = ImageOps.invert(Image.open(io.BytesIO(content)))
        found.append((encoded(inverted, "JPEG", quality=92), label))
    return [found[place] for place in np.random.default_rng(seed).permutation(count)]


def least_gain(before: Bundle, after: Bundle, photographs: Photographs) -> float:
    """Return a lower bound of how much the area under the ROC curve rises from `before` to `after`.

    The area needs no threshold; that of each model depends on few photographs. The standard error
    is that of two areas on the same photographs (DeLong, DeLong & Clarke-Pearson, Biometrics 44,
    1988, 837-845).
    """
    cracked = np.array([label == "crack" for _, label in photographs])
    contents = [content for content, _ in photographs]
    scores = [Classifier(bundle).scores(contents) for bundle in (before, after)]
    earlier, later = (np.sign(one[cracked][:, None] - one[~cracked]) / 2 for one in scores)
    gained = later - earlier
    of_each = gained.mean(axis=1), gained.mean(axis=0)  # cracked, clean
    error = np.sqrt(sum(one.var(ddof=1) / len(one) for one in of_each))
    print(f"the area under the ROC curve changes by {gained.mean():+.4f} ± {error:.4f}")
    return float(gained.mean() - CERTAIN * error)


def record_predictions(service: Path, photographs: Photographs, hour: datetime) -> list[str]:
    """Record what the champion predicts, as the service does; return the prediction ids."""
    champion, bundle = open_champion(service)
    contents = [content for content, _ in photographs]
    predictions = Classifier(bundle).predict(contents, [str(n) for n in range(len(contents))])
    rows = []
    for second, (content, one) in enumerate(zip(contents, predictions, strict=True)):
        assert one.features is not None
        rows.append(
            recorded(
                champion,
                one,
                content,
                hour + timedelta(seconds=second),
                milliseconds=9.0,
                sketch=sketch(one.features[None])[0],
                keep_image=True,
            )
        )
    number = int(hour.timestamp()) // 3600
    PartFolder(service / "answers").write(as_table(rows), "web7-4711-qkzmwe", number)
    return [row.prediction_id for row in rows]


@pytest.fixture(scope="module")
def site(make_workspace: Callable[[], Workspace], tmp_path_factory: pytest.TempPathFactory) -> Site:
    workspace = make_workspace()
    result = workspace.trained(*SMALL)
    assert result["promoted"], result
    paths = Paths(workspace.root)
    _, bundle = open_champion(paths.service)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    place = tmp_path_factory.mktemp("originals")
    # The last one is of the training data: it teaches nothing new.
    labelled = [*of_new_kind(LABELLED, 31), (next(iter(draw_sample(PATCHES, 2026)))[1], "no crack")]
    answered = [*labelled, *of_new_kind(UNLABELLED, 53)]
    per_hour = -(-len(answered) // HOURS)
    names = []
    for number in range(HOURS):
        part = answered[number * per_hour : (number + 1) * per_hour]
        names += record_predictions(paths.service, part, now - timedelta(hours=HOURS + 1 - number))
    lines = ["prediction_id,label,by"]
    lines += [f"{name},{label},ann" for name, (_, label) in zip(names, labelled, strict=False)]
    for number, (content, _) in enumerate(labelled):
        (place / f"IMG_{number:04}.jpg").write_bytes(content)
    labels = place.parent / "checked.csv"
    labels.write_text("\n".join(lines) + "\n")
    return Site(workspace, paths.service, bundle, place, labels)


@pytest.fixture(scope="module")
def source(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `cracks feedback` made of the labels, with the folder."""
    taken = site.workspace.cracks("feedback", site.labels, "--json")
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["taken"] == {"recorded": LABELLED + 1}
    folder = tmp_path_factory.mktemp("labelled") / "source"
    done = site.workspace.cracks(
        "feedback", "--export-source", folder, "--originals", site.originals, "--json"
    )
    assert done.returncode == 0, done.stderr
    exported: dict[str, Any] = json.loads(done.stdout)
    return exported


@pytest.fixture(scope="module")
def trained_on_drift(
    site: Site,
    source: dict[str, Any],
    prefect_server: PrefectServer,
    start_for_module: StartProcess,
) -> dict[str, Any]:
    """The flow run that drift started, when it has ended."""
    workspace = site.workspace
    workspace.configure(f"ingest.source=[sample, {json.dumps(source['folder'])}]")
    deployed = workspace.python("infra.deployment")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    start_for_module(
        [TOOLS / "prefect", "worker", "start", "--pool", "cracks"],
        variables=prefect_server.variables | {"PREFECT_WORKER_QUERY_SECONDS": "2"},
        name="worker",
    )
    for _ in range(2):  # the second look finds nothing to judge and asks for nothing
        looked = order(prefect_server, "monitoring/monitoring")
        assert looked["state_type"] == "COMPLETED", prefect_server.logs(looked["id"])
    training = prefect_server.ask("GET", "/deployments/name/training/training")["id"]

    def started() -> list[dict[str, Any]]:
        runs = prefect_server.find("flow_runs", deployments={"id": {"any_": [training]}})
        return [run for run in runs if not run["auto_scheduled"]]

    (run,) = wait_until(started, "the training that drift starts", timeout=60) or [{}]
    ended = end_of(prefect_server, run["id"])
    assert len(started()) == 1
    return ended


def order(server: PrefectServer, name: str) -> dict[str, Any]:
    deployment = server.ask("GET", f"/deployments/name/{name}")["id"]
    run = server.ask("POST", f"/deployments/{deployment}/create_flow_run", {})
    return end_of(server, run["id"])


def end_of(server: PrefectServer, run_id: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        run = server.flow_run(run_id)
        over = run["state_type"] in ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
        return run if over else None

    return wait_until(ended, "the end of the flow run", timeout=400, interval=0.5) or {}


def test_labelled_predictions_are_a_source_by_their_bytes(source: dict[str, Any]) -> None:
    folder = Path(source["folder"])
    files = {file.stem: file for file in folder.rglob("*.jpg")}
    assert len(files) == source["cracked"] + source["clean"] == LABELLED
    for name, file in files.items():
        assert digest_of_bytes(file.read_bytes()) == name
    assert len(list((folder / "Positive").iterdir())) == source["cracked"]
    assert (folder / "feedback.csv").is_file()
    assert source["left_out"]["in the data already"] == 1


def test_drift_starts_one_training_that_says_why(trained_on_drift: dict[str, Any]) -> None:
    assert trained_on_drift["state_type"] == "COMPLETED"
    cause = trained_on_drift["parameters"]["cause"]
    assert cause.startswith("drift against version 1 in ")
    assert "evidence" in cause


def test_the_report_shows_what_moved_it_beside_what_was_trained_on(
    site: Site, trained_on_drift: dict[str, Any]
) -> None:
    assert trained_on_drift["parameters"]["cause"]
    place = place_of_monitoring(site.service)
    window = next(one for one in read_windows(place, 2 * HOURS) if one.fired)
    picture = read_picture(place, window.picture)
    assert picture is not None
    assert Image.open(io.BytesIO(picture)).width > 500
    assert base64.b64encode(picture).decode() in window_page(window, picture)
    splits = read_table(Paths(site.workspace.root).splits).to_pandas().set_index("id")["split"]
    assert window.movers
    assert {splits[one.nearest_id] for one in window.movers} == {"train"}


def test_the_cause_is_visible_through_trace(site: Site, trained_on_drift: dict[str, Any]) -> None:
    done = site.workspace.cracks("trace", "v2", "--json")
    assert done.returncode == 0, done.stderr
    links = {one["link"]: one["value"] for one in json.loads(done.stdout)["chain"]}
    assert links["cause"] == trained_on_drift["parameters"]["cause"]
    # The first model was trained by hand.
    first = json.loads(site.workspace.cracks("trace", "v1", "--json").stdout)
    assert "cause" not in {one["link"] for one in first["chain"]}


def test_the_next_model_is_better_there_and_no_worse_elsewhere(
    site: Site, trained_on_drift: dict[str, Any]
) -> None:
    champion, bundle = open_champion(site.service)
    assert champion.version == "2"
    assert least_gain(site.bundle, bundle, of_new_kind(HELD_OUT, 77)) > 0
    assert least_gain(site.bundle, bundle, of_old_kind(OLD_HELD_OUT, 901)) > -MARGIN
