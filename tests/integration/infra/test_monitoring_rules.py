"""Alert rules and dashboard: right by their own tools, and of metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import CHECKOUT, StartProcess
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.bundles import grey_image, hand_over, make_bundle
from tests.integration.pipeline_content import leave_trainings, leave_windows
from tests.integration.services import make_workspace, serving, uploads

FOLDER = CHECKOUT / "infra/monitoring"
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool here; it is in Debian's package prometheus"
)

#: What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}


def promtool(*words: str | Path, given: str | None = None) -> str:
    done = subprocess.run(
        [str(PROMTOOL), *words], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    return content


def queries(dashboard: dict[str, Any]) -> list[str]:
    """Every query of the dashboard, as Grafana sends it."""
    panels = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    ]
    notes = [note["expr"] for note in dashboard["annotations"]["list"]]
    sent = []
    for query in panels + notes:
        for name, value in VARIABLES.items():
            query = query.replace(name, value)
        sent.append(query)
    return sent


@pytest.fixture(scope="module")
def told(start_for_module: StartProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a service with a past answers to Prometheus."""
    place, now = tmp_path_factory.mktemp("told"), datetime.now(UTC)
    hand_over(place / "service", make_bundle(place / "v3", size=64), "3")
    leave_trainings(place / "service", now)
    leave_windows(place / "service", now, hours=40)
    workspace = make_workspace(place / "workspace")
    with serving(start_for_module, workspace, place / "service") as service:
        service.wait_for_version("3")
        service.client.post("/predict", files=uploads(column=grey_image(200))).raise_for_status()
        yield service.client.get("/metrics").text


# --- promtool -------------------------------------------------------------------------------------


@needs_promtool
def test_the_rules_fire_when_they_should_and_only_then() -> None:
    tried = FOLDER / "alerts_test.yml"
    promtool("check", "rules", FOLDER / "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", tried)
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert [name for name in names if name not in tried.read_text()] == []


@needs_promtool
def test_the_tests_of_the_rules_notice_a_rule_that_never_fires(tmp_path: Path) -> None:
    rules = (FOLDER / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(rules.replace("cracks_drift_fired == 1", "vector(0) > 1"))
    shutil.copy(FOLDER / "alerts_test.yml", tmp_path)
    command = [str(PROMTOOL), "test", "rules", tmp_path / "alerts_test.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "CracksDrift" in done.stdout + done.stderr


@needs_promtool
def test_the_example_of_a_configuration_is_one() -> None:
    promtool("check", "config", "--syntax-only", FOLDER / "prometheus.yml")


@needs_promtool
def test_every_query_of_the_dashboard_can_be_parsed(
    dashboard: dict[str, Any], tmp_path: Path
) -> None:
    asked = queries(dashboard)
    assert len(asked) > 30
    rules = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(asked)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)


@needs_promtool
def test_what_the_service_tells_keeps_to_the_naming_of_prometheus(told: str) -> None:
    promtool("check", "metrics", given=told)


# --- the metrics that there are -------------------------------------------------------------------


def test_every_metric_of_rules_and_dashboard_is_told_by_the_service(
    dashboard: dict[str, Any], told: str
) -> None:
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked = {
        name
        for query in [*queries(dashboard), *expressions]
        for name in re.findall(r"\bcracks_\w+", query)
    }
    families = text_string_to_metric_families(told)
    samples = {sample.name: sample.labels.keys() for one in families for sample in one.samples}
    assert len(asked) > 20
    assert asked - samples.keys() == set()


# --- Grafana --------------------------------------------------------------------------------------


def test_grafana_knows_every_key_of_the_dashboard(dashboard: dict[str, Any]) -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    # The classes are made from Grafana's schema: what it does not have, they leave out.
    register_default_plugins()

    def lost(given: dict[str, Any]) -> list[str]:
        read = json.loads(JSONEncoder().encode(Dashboard.from_json(given)))
        return list(differences(given, read))

    assert lost(dashboard) == []
    first = dashboard["panels"][1]
    misspelt = first | {"fieldConfig": {"defaults": {"units": "s"}, "overrides": []}}
    assert lost(dashboard | {"panels": [misspelt]}) == [".panels.0.fieldConfig.defaults.units"]


def differences(given: Any, read: Any, place: str = "") -> Iterator[str]:
    if isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            if key in read:
                yield from differences(value, read[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}"
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from differences(one, other, f"{place}.{number}")
    elif given != read:
        yield place


def test_the_panels_fill_their_places_without_covering_each_other(
    dashboard: dict[str, Any],
) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{panel['title']} covers {taken.get((x, y))}"
                taken[x, y] = panel["title"]
    for panel in panels:
        assert panel["type"] == "row" or panel["description"], panel["title"]
