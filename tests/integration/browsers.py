"""A real Chromium, what a person does in it, and what must never happen there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from processes import wait_until
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

NEEDS_CHROMIUM = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no chromium or chromedriver here; Debian's packages have these names",
)

#: A name of CDP.
ONLINE = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}

#: Scripts of the page, modules too, have run when it is complete.
IS_READY = "return document.readyState === 'complete' && document.hasFocus()"


@dataclass(frozen=True)
class OpenPage:
    """A page in a browser."""

    browser: webdriver.Chrome
    url: str
    downloads: Path

    def open(self) -> None:
        self.browser.get(self.url)
        self.browser.execute_script("localStorage.clear(); sessionStorage.clear();")
        self.browser.get(self.url)

    def wait_until_ready(self) -> None:
        """Wait until the page's scripts have run, it has the focus, and it is drawn.

        Only then does a key reach what a person would reach with it.
        """
        self.wait(lambda: self.run(IS_READY), "the page, loaded and with the focus")
        self.settle()

    def press(self, key: str) -> WebElement:
        """Press a key where the focus is, and return where it is afterwards.

        What gets the focus looks like it from the next frame on: with reduced motion every property
        changes in a transition, however short.
        """
        webdriver.ActionChains(self.browser).send_keys(key).perform()
        self.settle()
        return self.browser.switch_to.active_element

    def __getitem__(self, id_: str) -> WebElement:
        return self.browser.find_element(By.ID, id_)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        return wait_until(condition, what, timeout=10)

    def text(self, id_: str) -> str:
        """Return what is read there, with plain spaces."""
        return self[id_].text.replace("\u202f", " ")

    def wait_for_text(self, id_: str, text: str) -> str:
        return str(self.wait(lambda: text in self.text(id_) and self.text(id_), text))

    def settle(self) -> None:
        """Let the browser draw what has changed."""
        self.browser.execute_async_script(
            "const done = arguments[0];"
            "requestAnimationFrame(() => requestAnimationFrame(() => done()));"
        )

    def emulate(self, command: str, **parameters: Any) -> None:
        self.browser.execute_cdp_cmd(command, parameters)

    def shape(self, width: int, height: int) -> None:
        """Make the screen that of a phone; 0 × 0 undoes it."""
        self.emulate(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=0,
            mobile=width > 0,
        )

    def prefer(self, scheme: str) -> None:
        """Set what the person prefers: `light` or `dark`, and always that nothing moves."""
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        self.emulate("Emulation.setEmulatedMedia", features=features)

    def texts_too_faint(self) -> tuple[int, set[str]]:
        """Return how many texts are seen, and which have less than 4.5 to 1 (WCAG 2.2, 1.4.3)."""
        texts = self.run(COLOURS_OF_TEXTS)
        faint = {one for one, text, ground in texts if contrast(rgb(text), rgb(ground)) < 4.5}
        return len(texts), faint

    def widths(self) -> list[int]:
        """Return how wide what is on the page is, and how wide the screen."""
        widths: list[int] = self.run(
            "return [document.documentElement.scrollWidth, window.innerWidth]"
        )
        return widths


AnyPage = TypeVar("AnyPage", bound=OpenPage)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    # Root may not use the sandbox, /dev/shm is small in containers, and it shall ask nobody else.
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        "disable-gpu",
        "disable-extensions",
        "disable-background-networking",
        "no-first-run",
        "window-size=1280,1000",
    ):
        options.add_argument(f"--{argument}")
    downloads = str(tmp_path_factory.mktemp("downloads"))
    options.add_experimental_option("prefs", {"download.default_directory": downloads})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options, Driver(str(DRIVER))) as running:
        running.downloads = Path(downloads)  # type: ignore[attr-defined]
        yield running


@contextmanager
def opened(
    browser: webdriver.Chrome, url: str, kind: type[AnyPage], path: str = ""
) -> Iterator[AnyPage]:
    browser.get_log("browser"), browser.get_log("performance")
    page = kind(browser, f"{url}{path}", browser.downloads)  # type: ignore[attr-defined]
    page.prefer("light")
    # The focus shall not depend on what else the browser shows, or on who has the screen.
    page.emulate("Emulation.setFocusEmulationEnabled", enabled=True)
    page.open()
    page.wait_until_ready()
    yield page
    page.emulate("Network.emulateNetworkConditions", **ONLINE)
    page.shape(0, 0)
    # What the service refuses is on the console too; every other entry is a mistake of the page.
    said = [one["message"] for one in browser.get_log("browser")]
    mistakes, foreign = [one for one in said if is_mistake(one)], foreign_requests(browser, url)
    assert not mistakes, mistakes
    assert not foreign, foreign


def is_mistake(message: str) -> bool:
    refused = "the server responded with a status of", "net::ERR_INTERNET_DISCONNECTED"
    return not any(one in message for one in refused)


def foreign_requests(browser: webdriver.Chrome, url: str) -> list[str]:
    messages = [json.loads(one["message"])["message"] for one in browser.get_log("performance")]
    asked = [
        one["params"]["request"]["url"]
        for one in messages
        if one["method"] == "Network.requestWillBeSent"
    ]
    own = (f"{url}/", f"blob:{url}/", "data:")
    return [one for one in asked if not one.startswith(own)]


#: The texts that are seen, each with its colour and that of the nearest ground behind it.
COLOURS_OF_TEXTS = """
    const ground = (one) => {
        for (; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor;
            if (!/, 0\\)$/.test(colour)) return colour;
        }
        return getComputedStyle(document.documentElement).backgroundColor;
    };
    const places = "h1, h2, h3, p, dt, dd, td, th, li, button, summary, .top a, output, label";
    return [...document.querySelectorAll(places)]
        .filter((one) => one.checkVisibility() && one.textContent.trim() && !one.disabled)
        .filter((one) => !one.classList.contains("hidden"))
        .map((one) => [one.textContent.trim(), getComputedStyle(one).color, ground(one)]);
"""


def is_dark(page: OpenPage) -> bool:
    ground = page.run("return getComputedStyle(document.documentElement).backgroundColor")
    return brightness(rgb(ground)) < 0.5


def rgb(colour: str) -> list[float]:
    parts = colour[colour.index("(") + 1 : colour.rindex(")")].split(",")
    return [float(part) / 255 for part in parts[:3]]


def brightness(colour: Sequence[float]) -> float:
    """Return the relative luminance, as WCAG 2.2 defines it."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    low, high = sorted((brightness(one), brightness(other)))
    return (high + 0.05) / (low + 0.05)
