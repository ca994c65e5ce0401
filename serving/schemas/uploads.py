"""Read the images of a request into memory: several of a form, or one as the whole body.

`serving.middleware.request_limits` bounds its size and time while it is read.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

#: What a whole body may be; images in whatever wrapping tell by themselves what they are.
RAW_TYPES = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/tiff",
    "application/octet-stream",
)

#: Characters of a file's name that are repeated in a response.
NAME_LENGTH = 255

#: Parts of a form that are no files, and bytes of such a part; nobody needs any.
MOST_FIELDS, FIELD_SIZE = 16, 4096


@dataclass(frozen=True)
class Upload:
    """One file as it was sent."""

    name: str  # as the client calls it; to be shown, never to be opened
    content: bytes


class FormInMemory(MultiPartParser):
    """A parser of forms that never writes to the disk, as Starlette does above a megabyte."""

    spool_max_size = sys.maxsize


def content_type(request: Request) -> str:
    """Return the type of a request's body without its parameters; empty where none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_uploads(request: Request, field: str, most: int) -> list[Upload]:
    """Return the files of a request.

    Args:
        request: a form (multipart/form-data), or one image as its body.
        field: the name under which a form has files.
        most: files that are allowed.

    Raises:
        HTTPException: 400 for a broken form or one without such a file, 413 for too many files,
            415 for another type of body.
    """
    kind = content_type(request)
    if kind in RAW_TYPES:
        return [Upload("file 1", await request.body())]
    if kind != "multipart/form-data":
        raise HTTPException(
            415,
            f"Content-Type is {printable(kind) or 'missing'}; send a form (multipart/form-data) "
            f"with `{field}`, or one image as the body with one of {', '.join(RAW_TYPES)}.",
        )
    files = await _files_of_form(request, field, most)
    return [
        Upload(printable(file.filename or "") or f"file {number}", await file.read())
        for number, file in enumerate(files, start=1)
    ]


async def _files_of_form(request: Request, field: str, most: int) -> list[UploadFile]:
    parser = FormInMemory(
        request.headers,
        request.stream(),
        max_files=most + 1,
        max_fields=MOST_FIELDS,
        max_part_size=FIELD_SIZE,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(most) from None
        raise HTTPException(400, f"The form is broken: {error.message}") from None
    files = [file for file in form.getlist(field) if isinstance(file, UploadFile)]
    if not files:
        raise HTTPException(
            400, f"The form has no file under `{field}`. Try `curl -F {field}=@column-07.jpg …`."
        )
    if len(files) > most:
        raise _too_many(most)
    return files


def _too_many(most: int) -> HTTPException:
    allowed = "one file" if most == 1 else f"at most {most} files"
    return HTTPException(413, f"Too many files in one request; {allowed} a request.")


def printable(name: str) -> str:
    """Return a name without control characters, and not endless."""
    return "".join(filter(str.isprintable, name))[:NAME_LENGTH]


def described(field: str, *, several: bool) -> dict[str, Any]:
    """Return what OpenAPI says of a body that `read_uploads` reads."""
    file = {"type": "string", "format": "binary"}
    files = {"type": "array", "items": file, "minItems": 1} if several else file
    form = {"type": "object", "properties": {field: files}, "required": [field]}
    raw = {kind: {"schema": file} for kind in RAW_TYPES}
    content = {"multipart/form-data": {"schema": form}, **raw}
    return {"requestBody": {"required": True, "content": content}}
