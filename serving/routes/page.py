"""The pages, `/` to send photographs and `/pipeline` to see how all is doing, and their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

from fastapi import APIRouter, Request, Response

from cracks.system.hashing import digest_of_bytes
from cracks.system.templates import render
from serving.service import Service

PLACE = Path(__file__).resolve().parents[1] / "page"

#: What belongs to the pages, by what it is. Nothing else is served, whatever a request names.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

#: Where the pages themselves are found, each filled in from its template; other files are below
#: /page/.
PAGES = {"index.html": "/", "pipeline.html": "/pipeline"}


@dataclass(frozen=True)
class Asset:
    """A file of the pages, in memory."""

    content: bytes
    media_type: str
    etag: str  # strong: the SHA-256 of the content

    def response(self, request: Request) -> Response:
        """Return it, or only say that the browser has it already."""
        # With `no-cache` browsers keep it, but ask: the files' names stay, whatever the release.
        headers = {"ETag": self.etag, "Cache-Control": "no-cache"}
        if self.etag in _known(request):
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def routes(_: Service) -> APIRouter:
    """Return the routes of the pages."""
    router, assets = APIRouter(include_in_schema=False), read_assets()
    for name, asset in assets.items():
        path = PAGES.get(name, f"/page/{name}")
        router.add_api_route(path, asset.response, methods=["GET", "HEAD"])
    return router


def read_assets() -> dict[str, Asset]:
    """Return the files of the pages by name, those in a folder with its name before theirs."""
    contents = {name: render(f"serving/page/{name}.jinja").encode() for name in PAGES}
    for file in sorted(PLACE.rglob("*")):
        if file.suffix in MEDIA_TYPES:
            contents[file.relative_to(PLACE).as_posix()] = file.read_bytes()
    return {
        name: Asset(content, MEDIA_TYPES[PurePath(name).suffix], f'"{digest_of_bytes(content)}"')
        for name, content in contents.items()
    }


def _known(request: Request) -> list[str]:
    """Return the entity tags that the browser names, compared weakly as RFC 9110, 13.1.2 says."""
    tags = request.headers.get("If-None-Match", "").split(",")
    return [tag.strip().removeprefix("W/") for tag in tags]
