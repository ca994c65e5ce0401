"""The files of the pages: served from a fixed table, and complete without any other host."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from typing import cast

import httpx
import pytest
from fastapi import FastAPI

from cracks.system.hashing import digest_of_bytes
from serving.routes import page
from serving.service import Service

ASSETS = page.read_assets()
TEXTS = {name: asset.content.decode("utf-8") for name, asset in ASSETS.items()}
#: Not ours: as it is on npm, whose archive has these digests.
LIBRARY = {
    "uplot/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot/uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
OWN = [name for name in ASSETS if name not in LIBRARY]


@cache
def app() -> FastAPI:
    """Return the page alone; it needs nothing of the service that serves it."""
    made = FastAPI()
    made.include_router(page.routes(cast(Service, None)))
    return made


def ask(path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app())
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(asked())


def address(name: str) -> str:
    return page.PAGES.get(name, f"/page/{name}")


@pytest.mark.parametrize("name", ASSETS)
def test_a_browser_that_has_a_file_is_not_sent_it_again(name: str) -> None:
    first = ask(address(name))
    assert (first.status_code, first.content) == (200, ASSETS[name].content)
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    assert not etag.startswith("W/")
    for known in (etag, f"W/{etag}", f'"another", {etag}'):
        again = ask(address(name), **{"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    assert ask(address(name), **{"If-None-Match": '"another"'}).status_code == 200


def test_files_say_what_they_are() -> None:
    kinds = {name: ask(address(name), "HEAD").headers["content-type"] for name in ASSETS}
    assert kinds["main.js"] == "text/javascript; charset=utf-8"
    assert kinds["style.css"] == "text/css; charset=utf-8"
    assert kinds["icon.svg"] == "image/svg+xml"
    assert {kinds[start] for start in page.PAGES} == {"text/html; charset=utf-8"}


def test_the_library_is_what_npm_has_and_its_licence_lies_beside_it() -> None:
    assert {name: digest_of_bytes(ASSETS[name].content) for name in LIBRARY} == LIBRARY
    folder = page.PLACE / "uplot"
    assert "The MIT License" in (folder / "LICENSE").read_text()
    (version,) = set(re.findall(r"v?(1\.\d+\.\d+)", (folder / "README.md").read_text()))
    assert f"(v{version})" in TEXTS["uplot/uPlot.iife.min.js"]


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/index.html",
        "/page/frame.html.jinja",
        "/page/uplot",
        "/page/uplot/LICENSE",
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page//etc/passwd",
    ],
)
def test_nothing_but_the_page_is_served(path: str) -> None:
    assert ask(path).status_code == 404


@pytest.mark.parametrize("start", page.PAGES)
def test_a_page_has_neither_scripts_nor_styles_in_its_markup(start: str) -> None:
    inside = r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:"
    assert re.findall(inside, TEXTS[start]) == []


def files_of(start: str) -> set[str]:
    """The files that a page names, and those that its scripts import from each other."""
    found = set(re.findall(r'(?:src|href)="page/([^"]+)"', TEXTS[start]))
    while True:
        scripts = [TEXTS[name] for name in found if name.endswith(".js")]
        more = found | {one for text in scripts for one in re.findall(r'from "\./([^"]+)"', text)}
        if more == found:
            return found
        found = more


def test_the_pages_name_only_files_that_are_shipped() -> None:
    named = set().union(*map(files_of, page.PAGES))
    assert named == set(ASSETS) - set(page.PAGES)


@pytest.mark.parametrize("name", OWN)
def test_no_file_names_another_host(name: str) -> None:
    namespace = 'xmlns="http://www.w3.org/2000/svg"'
    assert re.findall(r"(?:https?:)?//[\w-]+\.[\w.-]+", TEXTS[name].replace(namespace, "")) == []


@pytest.mark.parametrize("start", page.PAGES)
def test_every_element_that_the_scripts_ask_for_is_on_the_page(start: str) -> None:
    ids = set(re.findall(r'\sid="([^"]+)"', TEXTS[start]))
    scripts = "".join(TEXTS[name] for name in files_of(start) if name.endswith(".js"))
    made = set(re.findall(r'\bid: "([^"]+)"', scripts))
    assert set(re.findall(r'byId\("([^"]+)"\)', scripts)) <= ids | made
