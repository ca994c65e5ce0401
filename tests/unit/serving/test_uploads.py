"""Reading uploads: names are only shown, settings are refused by name."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import httpx
import pytest
from fastapi import Request
from starlette.types import Message

from cracks.errors import ServiceError
from serving.schemas.tensors import split_body
from serving.schemas.uploads import NAME_LENGTH, printable, read_uploads
from serving.settings import MEGABYTE, settings_of
from tests.unit.builders import ROOT


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("column-07.jpg", "column-07.jpg"),
        ("Stütze 3.jpg", "Stütze 3.jpg"),
        ("a\r\nX-Forged: 1.jpg", "aX-Forged: 1.jpg"),
        ("\x1b[31mred\x00.jpg", "[31mred.jpg"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("x" * 1000, "x" * NAME_LENGTH),
        ("../../etc/passwd", "../../etc/passwd"),  # a name to show; no file is ever opened by it
    ],
)
def test_a_name_is_shown_without_what_would_disturb_a_terminal_or_a_log(
    name: str, shown: str
) -> None:
    assert printable(name) == shown


def test_an_upload_of_any_size_needs_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(3 * MEGABYTE)
    sent = httpx.Request("POST", "http://test/", files={"files": ("large.png", content)})
    body = sent.read()

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    headers = [(name.lower(), value) for name, value in sent.headers.raw]
    scope = {"type": "http", "method": "POST", "headers": headers}
    # A file in it would have no name and never be seen: where there is no folder, there is none.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    (upload,) = asyncio.run(read_uploads(Request(scope, receive), "files", 1))
    assert (upload.name, upload.content) == ("large.png", content)


def test_a_setting_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRACKS_SERVE_MAX_FILES", "3")
    settings = settings_of(tmp_path, open=True)
    assert (settings.max_files, settings.open, settings.service) == (3, True, tmp_path)
    assert settings.keys == tmp_path / "keys.json"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CRACKS_SERVE_MAX_FILES", "many", "CRACKS_SERVE_MAX_FILES is 'many': input should be"),
        ("CRACKS_SERVE_MAX_FILES", "0", "greater than or equal to 1"),
        ("CRACKS_SERVE_MAX_FILE", "3", "is unknown. Did you mean CRACKS_SERVE_MAX_FILES?"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ServiceError, match=reason.replace("?", r"\?")):
        settings_of(tmp_path)


def test_the_example_of_an_environment_names_every_setting_and_its_default(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text()
    settings = settings_of(tmp_path)
    for name in type(settings).model_fields.keys() - {"service"}:
        value = getattr(settings, name)
        said = "" if value is None else str(value).lower()
        assert f"# CRACKS_SERVE_{name.upper()}={said}" in text, name


def test_a_body_is_split_where_the_header_says() -> None:
    assert split_body(b"{}abc", "2").tensors == b"abc"
    assert split_body(b"{}abc", None).document == b"{}abc"
    for length in ("6", "-1", "two", "9" * 400, "²"):
        with pytest.raises(Exception, match="400"):
            split_body(b"{}abc", length)
