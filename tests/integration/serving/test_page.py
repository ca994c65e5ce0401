"""The page of the service in a real Chromium, on a tiny real network: brightness is the score."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cracks.system.atomic_files import write_json
from serving.middleware.api_keys import create_key
from tests.integration.browsers import (
    NEEDS_CHROMIUM,
    ONLINE,
    OpenPage,
    browser,
    is_dark,
    opened,
)
from tests.integration.bundles import HEIGHT, WIDTH, hand_over, make_bundle, photograph
from tests.integration.conftest import Serve

__all__ = ["browser"]  # a fixture

pytestmark = NEEDS_CHROMIUM

PATCH_SIZE = 64
#: What promotion tells the service.
HISTORY = {
    "version": "1",
    "from_version": None,
    "kind": "promote",
    "time": "2026-11-21T08:00:00+00:00",
    "who": "ann",
    "why": "brighter than before",
}
#: Places of the photograph.
IN_THE_CRACK, BESIDE_IT = (380, 200), (60, 420)

#: CDP names.
OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
SLOW = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 40_000}


class Page(OpenPage):
    """The page in a browser, and what a person does there."""

    def take(self, file: Path) -> None:
        self["files"].send_keys(str(file))

    def inspect(self, folder: Path, name: str = "pier.png", content: bytes | None = None) -> None:
        """Choose a photo and wait for its prediction."""
        file = folder / name
        file.write_bytes(content or photograph())
        self.take(file)
        self.wait_for_prediction()

    def wait_for_prediction(self) -> None:
        self.wait(lambda: self["verdict"].is_displayed() and self["facts"].text, "the prediction")
        self.settle()

    def colour_at(self, place: tuple[int, int]) -> list[int]:
        """Return red, green and blue of the canvas at a place of the upright photograph."""
        self.settle()
        script = """
            const canvas = document.getElementById("photo"), [x, y, width, height] = arguments;
            const across = Math.floor(x * canvas.width / width);
            const down = Math.floor(y * canvas.height / height);
            const pixel = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
            pixel.drawImage(canvas, -across, -down);
            return [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3);
        """
        shape = self.run("return document.getElementById('photo').style.aspectRatio").split("/")
        colour: list[int] = self.run(script, *place, *(float(side) for side in shape))
        return colour

    def set(self, id_: str, value: float) -> None:
        """Move a slider, or fill in a field."""
        self.run(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'));",
            self[id_],
            value,
        )
        self.settle()

    def fact(self, term: str) -> str:
        lines = self.text("facts").splitlines()
        return lines[lines.index(term) + 1]

    def column(self, number: int) -> list[str]:
        cells = f"#tiles tbody tr > :nth-child({number})"
        texts: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)",
            cells,
        )
        return texts

    def downloaded(self, name: str) -> Path:
        file = self.downloads / name
        self.wait(lambda: file.is_file() and file.stat().st_size, name)
        return file


def hand_over_first(folder: Path) -> None:
    """Make version 1 the champion of a service."""
    hand_over(folder, make_bundle(folder.with_name("v1"), size=PATCH_SIZE, novelty=True), "1")
    write_json(folder / "history.json", [HISTORY])


@pytest.fixture(scope="module")
def open_url(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that serves anybody."""
    folder = tmp_path_factory.mktemp("open") / "service"
    hand_over_first(folder)
    with serve(folder, variables={"CRACKS_SERVE_MAX_INSPECTIONS": "1"}) as service:
        service.wait_for_version("1")
        yield service.url


@pytest.fixture
def page(browser: webdriver.Chrome, open_url: str) -> Iterator[Page]:
    """The page, freshly opened; afterwards nothing must have gone wrong unseen."""
    with opened(browser, open_url, Page) as page:
        yield page


# --- the prediction -------------------------------------------------------------------------------


def test_a_photo_gets_a_heat_map_where_it_is_cracked(page: Page, tmp_path: Path) -> None:
    page.inspect(tmp_path)
    assert page["verdict-word"].text == "Crack"
    assert page["result-title"].text == "pier.png"
    in_the_crack, beside_it = page.colour_at(IN_THE_CRACK), page.colour_at(BESIDE_IT)
    page.set("opacity", 0)
    assert page.colour_at(IN_THE_CRACK) == [225, 225, 225] != in_the_crack
    assert page.colour_at(BESIDE_IT) == [60, 60, 60]
    red, _, blue = in_the_crack
    assert red > blue + 40
    assert max(abs(one - 60) for one in beside_it) < 40


def test_a_photo_is_dropped_and_pasted_as_well_as_chosen(page: Page) -> None:
    hand_in = """
        const [kind, bytes, name] = arguments;
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
        const event = kind === "paste"
            ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
            : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
        document.body.dispatchEvent(event);
    """
    for kind in ("drop", "paste"):
        page.run(hand_in, kind, list(photograph()), f"{kind}.png")
        page.wait_for_text("result-title", f"{kind}.png")
        page.wait_for_prediction()
    names = [one.text for one in page.all("#photos .photo-name")]
    assert names == ["drop.png", "paste.png"]
    page.all("#photos button")[0].click()
    assert page["result-title"].text == "drop.png"
    page.wait_for_prediction()
    assert page.colour_at(IN_THE_CRACK) != page.colour_at(BESIDE_IT)


def test_what_the_browser_computes_is_what_the_service_says(
    page: Page, open_url: str, tmp_path: Path
) -> None:
    page.inspect(tmp_path)
    page.set("scale", 0.5)
    page["download-json"].click()
    prediction = json.loads(page.downloaded("pier-cracks.json").read_text(encoding="utf-8"))
    files = {"photo": ("pier.png", photograph())}
    said = httpx.post(f"{open_url}/inspect?mm_per_px=0.5", files=files, timeout=20).json()
    seen = prediction.pop("as_seen")
    assert (seen["threshold"], seen["label"]) == (said["threshold"], said["label"])
    assert seen["crack_share"] == pytest.approx(said["crack_share"], abs=1e-6)
    assert seen["crack_area_cm2"] == pytest.approx(said["crack_area_cm2"], abs=0.01)
    in_pixels = [
        {key: value for key, value in region.items() if not key.endswith("_mm")}
        for region in said["regions"]
    ]
    assert seen["regions"] == in_pixels
    same = {"tiles", "width", "height", "label", "score", "crack_share", "model_version", "run_id"}
    assert {key: prediction[key] for key in same} == {key: said[key] for key in same}


def test_a_photo_that_was_taken_sideways_is_upright(page: Page, tmp_path: Path) -> None:
    page.inspect(tmp_path, "turned.jpg", photograph("JPEG", turned=True))
    assert page.fact("Photo") == f"{WIDTH} × {HEIGHT} pixels"
    page.set("opacity", 0)
    assert min(page.colour_at(IN_THE_CRACK)) > 200
    assert max(page.colour_at(BESIDE_IT)) < 80


def test_a_format_that_browsers_cannot_draw_is_drawn_by_the_service(
    page: Page, tmp_path: Path
) -> None:
    page.inspect(tmp_path, "pier.tif", photograph("TIFF"))
    assert page["verdict-word"].text == "Crack"
    assert "the service has drawn it" in page["caption"].text
    assert not page["opacity"].is_enabled()
    red, _, blue = page.colour_at((WIDTH // 2, HEIGHT // 4))
    assert red > blue


def test_a_photo_unlike_the_training_data_is_not_to_be_trusted(page: Page, tmp_path: Path) -> None:
    page.inspect(tmp_path, "brick.png", photograph(ground=(190, 40, 20)))
    (warning,) = page.all("#warnings .warning")
    assert warning.text.startswith("Do not trust this prediction.")
    assert page["verdict-word"].text == "Crack, but do not trust it"
    assert "unlike the photographs that the model was trained on" in warning.text
    page.inspect(tmp_path, "pier.png")
    assert page.all("#warnings .warning") == []


# --- threshold, table, scale ----------------------------------------------------------------------


def test_the_threshold_changes_labels_share_and_regions_at_once(page: Page, tmp_path: Path) -> None:
    page.inspect(tmp_path)
    assert page["own-threshold"].text == "the model’s own threshold"
    own_share, own_labels = page.fact("Crack share"), page.column(4)
    page["threshold"].send_keys(Keys.HOME)
    page.settle()
    assert set(page.column(4)) == {"crack"}
    assert page.fact("Crack share") == "100 % of the area"
    assert len(page.all("#regions li")) == 1
    assert page["own-threshold"].text.endswith("instead of the model’s own threshold, 0.50")
    page["threshold"].send_keys(Keys.END)
    page.settle()
    assert set(page.column(4)) == {"no crack"}
    assert page["verdict-word"].text == "No crack found"
    assert not page["regions-part"].is_displayed()
    page.wait(lambda: "no crack found" in page["said"].get_attribute("textContent"), "words of it")
    page["reset"].click()
    assert (page.fact("Crack share"), page.column(4)) == (own_share, own_labels)


def test_the_headings_sort_the_tiles(page: Page, tmp_path: Path) -> None:
    page.inspect(tmp_path)
    score = page.all("#tiles th[data-column=score]")[0]
    button = score.find_element(By.TAG_NAME, "button")
    assert score.get_attribute("aria-sort") == "descending"
    scores = [float(text) for text in page.column(3)]
    assert scores == sorted(scores, reverse=True) != sorted(scores)
    button.click()
    assert score.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in page.column(3)] == sorted(scores)
    page.all("#tiles th[data-column=number] button")[0].click()
    assert score.get_attribute("aria-sort") == "none"
    assert [int(text) for text in page.column(1)] == list(range(1, len(scores) + 1))


def test_a_tile_is_marked_on_the_photo_and_in_the_table(page: Page, tmp_path: Path) -> None:
    page.inspect(tmp_path)
    page.set("opacity", 0)
    row = page.all("#tiles tbody tr")[0]
    number = row.find_element(By.TAG_NAME, "th").text
    webdriver.ActionChains(page.browser).move_to_element(row).perform()
    assert page["marked-title"].text == f"Tile {number}: crack"
    photo = page["photo"]
    page.run("arguments[0].scrollIntoView({block: 'center'})", photo)
    webdriver.ActionChains(page.browser).move_to_element(photo).perform()
    (marked,) = page.all("#tiles tr.is-marked")
    middle = [int(text) for text in marked.find_elements(By.TAG_NAME, "td")[0].text.split(", ")]
    assert abs(middle[0] + PATCH_SIZE / 2 - WIDTH / 2) <= PATCH_SIZE / 2
    assert abs(middle[1] + PATCH_SIZE / 2 - HEIGHT / 2) <= PATCH_SIZE / 2
    photo.click()
    assert page.browser.switch_to.active_element == marked


def test_with_a_scale_sizes_are_in_millimetres(page: Page, tmp_path: Path) -> None:
    page.inspect(tmp_path)
    assert "mm" not in page["regions"].text
    page.set("scale", 2)
    assert page.fact("Photo") == "1,280 × 960 mm (640 × 480 pixels)"
    assert page.fact("Area of it").endswith("cm²")
    assert "mm" in page["regions"].text
    page.set("scale", -1)
    assert page["scale-problem"].text == "Enter a number from 0.001 to 1000, as 0.5."
    assert page.fact("Photo") == "640 × 480 pixels"


# --- downloads ------------------------------------------------------------------------------------


def test_tiles_picture_and_prediction_can_be_downloaded(page: Page, tmp_path: Path) -> None:
    page.inspect(tmp_path, "=beam, 3.png")
    page.set("threshold", 0.9)
    for kind in ("csv", "json", "png"):
        page[f"download-{kind}"].click()
    file = page.downloaded("=beam, 3-cracks.csv")
    rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    prediction = json.loads(page.downloaded("=beam, 3-cracks.json").read_text(encoding="utf-8"))
    assert [float(row["score"]) for row in rows] == [tile["score"] for tile in prediction["tiles"]]
    assert {row["label"] for row in rows} == {"no crack"}
    # A spreadsheet must not take the name of a file for a formula.
    assert {row["file"] for row in rows} == {"'=beam, 3.png"}
    assert prediction["label"] == "crack"
    assert (prediction["as_seen"]["threshold"], prediction["as_seen"]["label"]) == (0.9, "no crack")
    with Image.open(page.downloaded("=beam, 3-cracks.png")) as picture:
        assert (picture.format, picture.size) == ("PNG", (WIDTH, HEIGHT))
        red, _, blue, *_ = picture.getpixel(IN_THE_CRACK)
        assert red > blue + 40


# --- the model and its predictions ----------------------------------------------------------------


def test_the_model_and_why_it_is_in_service_are_told_in_plain_words(page: Page) -> None:
    card = page.wait_for_text("model-card", "Correct predictions")
    assert "75 %" in card
    assert "drawn pictures of concrete" in card
    assert "0.50: a tile with this score or more counts as crack" in card
    assert page.wait_for_text("in-service", "Model version 1 is in service.")
    history = page.wait_for_text("history-list", "brighter than before")
    assert "put into service" in history
    assert "ann" in history


def test_recent_predictions_show_the_photo_that_was_just_sent(page: Page, tmp_path: Path) -> None:
    page.inspect(tmp_path)
    id_ = page.fact("Prediction id")
    page.wait_for_text("answers-list", id_)


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_file_that_is_no_photo_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "notes.jpg"
    file.write_text("no image")
    page.take(file)
    said = page.wait_for_text("problem", "notes.jpg: This file is not a photo that can be read.")
    assert "Send a JPEG, PNG, WebP or TIFF file" in said
    assert "The service says: notes.jpg" in said
    assert not page["progress"].is_displayed()
    page.inspect(tmp_path)
    assert not page["problem"].is_displayed()


def test_a_photo_that_is_too_large_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    with file.open("wb") as stream:
        stream.truncate(60 * 1024 * 1024)
    page.take(file)
    said = page.wait_for_text("problem", "large.jpg: ")
    assert "too large" in said or "larger than the service takes" in said


def test_without_a_connection_it_says_so_and_can_be_tried_again(page: Page, tmp_path: Path) -> None:
    page.emulate("Network.emulateNetworkConditions", **OFFLINE)
    file = tmp_path / "pier.png"
    file.write_bytes(photograph())
    page.take(file)
    page.wait_for_text("problem", "The service cannot be reached.")
    page.emulate("Network.emulateNetworkConditions", **ONLINE)
    page.all("#problem button")[0].click()
    page.wait_for_prediction()


def test_an_upload_shows_how_far_it_is_and_can_be_cancelled(page: Page, tmp_path: Path) -> None:
    page.emulate("Network.emulateNetworkConditions", **SLOW)
    file = tmp_path / "slow.tif"
    file.write_bytes(photograph("TIFF"))
    page.take(file)
    page.wait_for_text("progress-text", "Sending slow.tif…")
    page.wait(lambda: 0 < float(page["progress-bar"].get_attribute("value") or 0) < 1, "a part")
    page["cancel"].click()
    page.wait(lambda: not page["progress"].is_displayed(), "the end of it")
    assert page.browser.switch_to.active_element == page["choose"]
    assert not page["problem"].is_displayed()
    page.emulate("Network.emulateNetworkConditions", **ONLINE)
    page.inspect(tmp_path)


def test_a_busy_service_is_asked_again_after_a_while(
    page: Page, open_url: str, tmp_path: Path
) -> None:
    large, refused, enough = photograph(size=(2600, 2600)), threading.Event(), threading.Event()

    def keep_busy() -> None:
        while not enough.wait(0.01):
            asked = f"{open_url}/inspect?overlap=0.5"
            response = httpx.post(asked, files={"photo": ("large.png", large)}, timeout=60)
            if response.status_code == 429:
                refused.set()

    others = [threading.Thread(target=keep_busy) for _ in range(4)]
    for other in others:
        other.start()
    try:
        assert refused.wait(20)
        file = tmp_path / "pier.png"
        file.write_bytes(photograph())
        page.take(file)
        page.wait_for_text("problem", "The service is busy.")
    finally:
        enough.set()
    page.wait_for_text("problem", "Trying again in")
    page.wait_for_prediction()
    for other in others:
        other.join()


def test_a_service_with_keys_asks_for_one(
    browser: webdriver.Chrome, serve: Serve, tmp_path: Path
) -> None:
    folder = tmp_path / "service"
    hand_over_first(folder)
    key = create_key(folder / "keys.json", "ann")
    with (
        serve(folder, *("--processes", "1")) as service,
        opened(browser, service.url, Page) as page,
    ):
        page.wait(lambda: page["key-dialog"].is_displayed(), "the dialog")
        assert page.browser.switch_to.active_element == page["key"]
        page["key"].send_keys("crk_wrong", Keys.ENTER)
        page.wait_for_text("key-wrong", "does not accept this key")
        page["key"].send_keys(key, Keys.ENTER)
        page.wait_for_text("model-card", "Correct predictions")
        assert not page["key-dialog"].is_displayed()
        page.inspect(tmp_path)
        assert page.run("return JSON.stringify(localStorage)").count(key) == 0
        assert page.run("return JSON.stringify(sessionStorage)").count(key) == 1


# --- for everyone ---------------------------------------------------------------------------------


def test_everything_is_reached_by_keyboard_and_seen_there(page: Page, tmp_path: Path) -> None:
    page.inspect(tmp_path)
    page.run("document.activeElement.blur(); window.getSelection().removeAllRanges();")
    page.run("document.body.tabIndex = -1; document.body.focus();")
    reached = []
    for _ in range(40):
        active = page.press(Keys.TAB)
        name = active.get_attribute("id") or active.text or active.get_attribute("data-tile") or ""
        reached.append(name)
        outline = page.run("return getComputedStyle(arguments[0]).outlineStyle", active)
        assert outline != "none", f"where the keyboard is cannot be seen: {name}"
        if name == "refresh":
            break
    assert reached[0] == "Skip to the inspection"
    wanted = ["choose", "scale", "threshold", "opacity", "download-png", "download-csv"]
    wanted += ["download-json", "Tile", "position-heading", "Score", "Label", "Novelty", "refresh"]
    assert [name for name in reached if name in wanted] == wanted
    row = page.all("#tiles tbody tr[tabindex='0']")[0]
    row.send_keys(Keys.ARROW_DOWN)
    assert page["marked-title"].is_displayed()
    assert page.browser.switch_to.active_element == page.all("#tiles tbody tr")[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(page: Page, tmp_path: Path, scheme: str) -> None:
    page.prefer(scheme)
    page.inspect(tmp_path, "brick.png", photograph(ground=(190, 40, 20)))
    assert is_dark(page) == (scheme == "dark")
    texts, faint = page.texts_too_faint()
    assert (texts > 50, faint) == (True, set())


def test_the_colours_can_be_chosen_and_are_kept(page: Page) -> None:
    page.prefer("light")
    page["theme"].click()
    page["theme"].click()
    assert page["theme"].text == "Colours: dark"
    page.browser.refresh()
    page.wait(lambda: is_dark(page), "the dark")


@pytest.mark.parametrize("width", [320, 390])
def test_on_a_phone_nothing_is_wider_than_the_screen(
    page: Page, tmp_path: Path, width: int
) -> None:
    page.shape(width, 700)
    assert page.widths() == [width, width]
    page.inspect(tmp_path, "a-very-long-name-of-a-photo-without-any-space-in-it-0000001.png")
    assert page.widths() == [width, width]
    assert page["take"].is_displayed() or page["choose"].is_displayed()
