"""The overview of the pipeline: its JSON, its metrics, and the page in a real Chromium."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client.parser import text_string_to_metric_families
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from cracks.inference.handover.training_summaries import FILE
from serving.middleware.api_keys import create_key
from serving.routes.pipeline import PipelineOverview
from tests.integration.browsers import (
    NEEDS_CHROMIUM,
    OpenPage,
    browser,
    contrast,
    is_dark,
    opened,
    rgb,
)
from tests.integration.bundles import hand_over, make_bundle
from tests.integration.conftest import Serve
from tests.integration.pipeline_content import PICTURE, TRAININGS, leave_trainings, leave_windows
from tests.integration.services import ServiceProcess

__all__ = ["browser"]  # a fixture

TOOLS = {
    "CRACKS_SERVE_MLFLOW_URL": "http://mlflow.example:5000/",
    "CRACKS_SERVE_PREFECT_URL": "https://prefect.example",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def key(place: Path) -> str:
    return create_key(place / "full/service/keys.json", "ann")


@pytest.fixture(scope="module")
def full(serve: Serve, place: Path, key: str) -> Iterator[ServiceProcess]:
    """A service with keys, after some weeks."""
    folder, now = place / "full/service", datetime.now(UTC)
    hand_over(folder, make_bundle(place / "v3", size=64), "3")
    leave_trainings(folder, now)
    leave_windows(folder, now)
    options = ("--processes", "1")  # in place of --open
    with serve(folder, *options, variables=TOOLS, headers={"X-API-Key": key}) as service:
        service.wait_for_version("3")
        yield service


@pytest.fixture(scope="module")
def empty(serve: Serve, place: Path) -> Iterator[ServiceProcess]:
    """A service before anything has happened."""
    with serve(place / "empty/service") as service:
        yield service


# --- the interface --------------------------------------------------------------------------------


def test_the_overview_tells_what_the_pipeline_handed_over(full: ServiceProcess) -> None:
    said = full.client.get("/pipeline/overview").json()
    assert said["champion"]["version"] == said["answering"] == "3"
    assert [run["outcome"] for run in said["runs"]] == [one[1] for one in reversed(TRAININGS)]
    assert said["runs"][0]["data"]["distinct_patches"] == TRAININGS[-1][-1]
    assert [change["version"] for change in said["history"]] == ["3", "2", "1"]
    assert len(said["windows"]) == 96
    with_movers = [window for window in said["windows"] if window["movers"] or window["picture"]]
    assert [window["fired"] for window in with_movers] == [["embedding"]]
    assert said["live"]["accuracy"]["rate"] == 0.985
    assert said["links"] == {
        "mlflow": TOOLS["CRACKS_SERVE_MLFLOW_URL"],
        "prefect": TOOLS["CRACKS_SERVE_PREFECT_URL"],
        "data_docs": None,
    }
    assert said["problems"] == []
    day = full.client.get("/pipeline/overview?days=1").json()
    assert 20 <= len(day["windows"]) <= 25
    assert full.client.get("/pipeline/overview?days=0").status_code == 422


def test_what_cannot_be_read_is_told_of_and_hides_nothing_else(full: ServiceProcess) -> None:
    file = full.folder / FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    try:
        said = full.client.get("/pipeline/overview").json()
        assert said["runs"] == []
        assert [FILE in problem for problem in said["problems"]] == [True]
        assert len(said["windows"]) == 96
        assert full.metric("cracks_pipeline_problems") == 1
    finally:
        file.write_bytes(whole)
    assert full.metric("cracks_pipeline_problems") == 0


def test_data_and_pictures_want_a_key_and_the_page_asks_for_it(full: ServiceProcess) -> None:
    picture = f"/pipeline/pictures/{PICTURE}"
    for path in ("/pipeline/overview", picture):
        assert httpx.get(f"{full.url}{path}").status_code == 401, path
    assert httpx.get(f"{full.url}/pipeline").status_code == 200
    assert full.client.get(picture).headers["content-type"] == "image/png"
    for name in ("none.png", "..%2f..%2faccuracy.json", ".png"):
        assert full.client.get(f"/pipeline/pictures/{name}").status_code == 404, name
    assert full.client.post("/pipeline/overview").status_code == 405


def test_the_interface_is_described_with_an_example_that_is_one(full: ServiceProcess) -> None:
    described = full.client.get("/openapi.json").json()["paths"]
    response = described["/pipeline/overview"]["get"]["responses"]["200"]["content"]
    example = response["application/json"]["example"]
    told = PipelineOverview.model_validate(example)
    assert told.model_dump(mode="json", exclude_none=True) == example
    assert example["runs"]
    assert example["windows"]
    assert "/pipeline/pictures/{name}" in described


def test_before_anything_has_happened_everything_is_empty(empty: ServiceProcess) -> None:
    said = empty.client.get("/pipeline/overview").json()
    assert {name for name, value in said.items() if value} == {"links"}
    names = empty.client.get("/metrics").text
    assert "cracks_monitoring_last_timestamp_seconds" not in names
    assert empty.metric("cracks_pipeline_problems") == 0


def test_prometheus_is_told_of_champion_training_data_and_monitoring(full: ServiceProcess) -> None:
    text = full.client.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["cracks_champion_version"].samples[0].value == 3
    outcomes = families["cracks_training_last_outcome"].samples
    assert {one.labels["outcome"] for one in outcomes if one.value} == {"promoted"}
    evidence = {
        one.labels["signal"]: one.value for one in families["cracks_drift_evidence"].samples
    }
    assert {"embedding", "novelty"} <= evidence.keys()
    needed = families["cracks_drift_evidence_needed"].samples
    assert {one.value for one in needed} == {100}
    last = families["cracks_monitoring_last_timestamp_seconds"].samples[0].value
    assert abs(last - datetime.now(UTC).timestamp()) < 600
    bounds = {one.labels["bound"]: one.value for one in families["cracks_live_accuracy"].samples}
    assert bounds == {"estimate": 0.985, "low": 0.957, "high": 0.997}


# --- the page -------------------------------------------------------------------------------------


class Overview(OpenPage):
    """The page in a browser."""

    def open(self) -> None:
        super().open()
        self.wait(lambda: not self.text("runs-card").startswith("Loading"), "the overview")
        self.settle()

    def pixels(self, number: int) -> npt.NDArray[np.uint8]:
        """Return what a chart has drawn: (n, 4), red, green, blue and opacity."""
        encoded: str = self.run(
            """
            const canvas = document.querySelectorAll(".plot canvas")[arguments[0]];
            const {width, height} = canvas;
            const copy = new OffscreenCanvas(width, height);
            const context = copy.getContext("2d", {willReadFrequently: true});
            context.drawImage(canvas, 0, 0);
            const {data} = context.getImageData(0, 0, width, height);
            let text = "";
            for (let at = 0; at < data.length; at += 8192)
                text += String.fromCharCode(...data.subarray(at, at + 8192));
            return btoa(text);
            """,
            number,
        )
        return np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(-1, 4)

    def inked(self) -> list[int]:
        """Return how many pixels each chart has drawn on."""
        charts = range(len(self.all(".plot canvas")))
        return [int((self.pixels(number)[:, 3] > 0).sum()) for number in charts]


@pytest.fixture
def page(browser: webdriver.Chrome, full: ServiceProcess, key: str) -> Iterator[Overview]:
    """The page with a key entered; afterwards nothing must have gone wrong unseen."""

    class WithKey(Overview):
        def open(self) -> None:
            self.browser.get(self.url)
            self.run("localStorage.clear(); sessionStorage['cracks-key'] = arguments[0];", key)
            self.browser.get(self.url)
            self.wait(lambda: "Version 3" in self.text("figures"), "the overview")
            self.wait(lambda: self["alarm-card"].text, "the last part")
            self.settle()

    with opened(browser, full.url, WithKey, "/pipeline") as page:
        yield page


@NEEDS_CHROMIUM
def test_the_page_shows_champion_trainings_data_and_monitoring(page: Overview) -> None:
    glance = page.text("figures")
    for words in ("Version 3", "promoted", "4 alarms", "98.5 %"):
        assert words in glance
    assert "crack recall is higher by 0.0021" in page.text("champion-card")
    runs = page.text("runs-card")
    assert "Started for: embedding: evidence 131 (needed 100) over 3 windows" in runs
    assert "validate: broken: labels are known. Fix the sources." in runs
    assert "38,402 are distinct" in page.text("data-card")
    assert "asked for" in page.text("watching-card")
    assert "no crack 4f1c22" in page.text("alarm-card")
    page.wait(
        lambda: page.run("return document.querySelector('#alarm-card img')?.naturalWidth"), ""
    )
    assert "98.5 % (95.7 % to 99.7 %), of 200" in page.text("live-card")
    inked = page.inked()
    assert len(inked) == 9
    assert min(inked) > 1_000


@NEEDS_CHROMIUM
def test_only_tools_whose_address_is_set_are_linked_to(page: Overview) -> None:
    links = {one.get_attribute("href") for one in page.all("main a, footer a")}
    outside = {one for one in links if not one.startswith(page.url.removesuffix("/pipeline"))}
    assert "http://mlflow.example:5000/#/models/classifier/versions/3" in outside
    assert f"http://mlflow.example:5000/#/runs/{4:032x}" in outside
    run = "https://prefect.example/runs/flow-run/0190c2e6-4b1f-7c31-9b0e-000000000004"
    assert {run, "https://prefect.example/runs"} <= outside
    assert "Data Docs" not in page.text("tools")


@NEEDS_CHROMIUM
def test_the_values_of_a_curve_are_read_by_keyboard_and_as_a_table(page: Overview) -> None:
    figure = page.all("#watching-charts .chart")[0]
    plot = figure.find_element("css selector", ".plot")
    said = figure.find_element("css selector", ".at")
    assert "features" in plot.get_attribute("aria-label")
    last = said.text
    plot.send_keys(Keys.HOME)
    page.wait(lambda: said.text != last, "the first value")
    first = said.text
    plot.send_keys(Keys.ARROW_RIGHT)
    page.wait(lambda: said.text != first, "the second value")
    plot.send_keys(Keys.END)
    page.wait(lambda: said.text == last, "the last value")
    button = figure.find_elements("css selector", ".legend button")[0]
    inked = page.inked()
    button.send_keys(Keys.SPACE)
    page.settle()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.inked() != inked
    figure.find_element("css selector", "summary").send_keys(Keys.ENTER)
    rows = page.wait(lambda: figure.find_elements("css selector", "tbody tr"), "the table")
    assert len(rows) == 96


@NEEDS_CHROMIUM
def test_the_days_are_chosen_and_asked_for(page: Overview) -> None:
    page["days"].send_keys("day")
    page.wait(lambda: "96 windows" not in page.text("figures"), "fewer windows")
    assert "windows judged" in page.text("figures")


@NEEDS_CHROMIUM
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_can_be_seen_in_light_and_dark(page: Overview, scheme: str) -> None:
    page.prefer(scheme)
    page.wait(lambda: is_dark(page) == (scheme == "dark"), scheme)
    page.settle()
    texts, faint = page.texts_too_faint()
    assert (texts > 100, faint) == (True, set())
    # WCAG 2.2, 1.4.11: what is drawn has 3 to 1 against its ground; the curves change colours too.
    card = page.run("return getComputedStyle(document.querySelector('.card')).backgroundColor")
    pixels = page.pixels(0)
    drawn = np.unique(pixels[pixels[:, 3] == 255][:, :3], axis=0) / 255
    assert max(contrast(one, rgb(card)) for one in drawn.tolist()) > 4.5
    variables = "const found = []; const probe = document.createElement('p');"
    variables += "document.body.append(probe); for (let n = 1; n < 9; n += 1) {"
    variables += "probe.style.color = `var(--curve-${n})`;"
    variables += "found.push(getComputedStyle(probe).color); } probe.remove(); return found;"
    curves = page.run(variables)
    assert min(contrast(rgb(one), rgb(card)) for one in curves) >= 3


@NEEDS_CHROMIUM
def test_on_a_phone_nothing_is_wider_than_the_screen(page: Overview) -> None:
    page.shape(320, 700)
    page.settle()
    width = "return document.querySelector('.uplot').offsetWidth"
    page.wait(lambda: page.run(width) < 320, "narrow charts")
    assert page.widths() == [320, 320]


@NEEDS_CHROMIUM
def test_a_page_without_a_key_says_so_and_can_ask_again(
    browser: webdriver.Chrome, full: ServiceProcess, key: str
) -> None:
    with opened(browser, full.url, OpenPage, "/pipeline") as page:
        page.wait(lambda: page["key-dialog"].is_displayed(), "the dialog")
        page["key-cancel"].click()
        page.wait_for_text("problem", "The service asks for a key.")
        page.all("#problem button")[0].click()
        page.wait(lambda: page["key-dialog"].is_displayed(), "the dialog again")
        page["key"].send_keys(key, Keys.ENTER)
        page.wait_for_text("figures", "Version 3")
        assert not page["problem"].is_displayed()


@NEEDS_CHROMIUM
def test_an_empty_pipeline_says_what_will_fill_it(
    browser: webdriver.Chrome, empty: ServiceProcess
) -> None:
    with opened(browser, empty.url, Overview, "/pipeline") as page:
        assert "No champion yet" in page.text("champion-card")
        assert "No training has ended yet" in page.text("runs-card")
        assert "Nothing watched yet" in page.text("watching-card")
        assert "Nobody has said yet" in page.text("live-card")
        assert page.all(".plot") == []
        assert page.all("#tools a") == []
        assert not page["problem"].is_displayed()
