"""The reference data set on Mendeley Data: what its public API says of it, and its archive.

    dataset.json    name, size and SHA-256 of every file, with version, licence and citation
    *.rar           the archive of the photographs

Both lie in one folder; as long as they fit each other, no network is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    model_validator,
)

from cracks.dataset.ingest.sources.archive_safety import is_archive
from cracks.errors import SourceError, SourceUnavailable, StorageError, StorageUnavailable
from cracks.storage.http_client import read_json
from cracks.storage.http_download import download, is_whole
from cracks.system.atomic_files import write_json
from cracks.system.validation_errors import reason_of

# A published version never changes, so what describes it stands here.
DATASET = "5y9wdsg2zt"
VERSION = 2
DOI = "10.17632/5y9wdsg2zt.2"
LICENCE = "CC BY 4.0"
PAGE = "https://data.mendeley.com/datasets/5y9wdsg2zt/2"
CITATION = (
    "Özgenel, Ç. F. (2019), “Concrete Crack Images for Classification”, Mendeley Data, V2, "
    "doi: 10.17632/5y9wdsg2zt.2"
)
#: What the author asks to cite as well.
PAPER = (
    "Özgenel, Ç. F., Gönenç Sorguç, A. (2018), “Performance Comparison of Pretrained Convolutional "
    "Neural Networks on Crack Detection in Buildings”, ISARC 2018"
)

BASE_URL = "https://data.mendeley.com/public-api"
#: Names another server with the same interface, such as a mirror.
BASE_VARIABLE = "CRACKS_MENDELEY_URL"

RECORD = "dataset.json"

REMEDY = f"Or download it by hand from {PAGE} and set ingest.source to the file."

Size = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


def _safe_name(name: str) -> str:
    """Return the name without what would lead out of the folder, or hide the file in it."""
    last = re.split(r"[/\\]", name)[-1].lstrip(". ")
    return "".join(letter if letter.isprintable() else "_" for letter in last)


class DatasetFile(BaseModel):
    """One file of the data set: the name that it has on disk, and its identity."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filename: Text
    size: Size
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    id: Text

    @model_validator(mode="after")
    def _lies_in_its_folder(self) -> DatasetFile:
        if self.filename != _safe_name(self.filename):
            raise ValueError(f"{self.filename!r} is no plain file name")
        return self


class _ListedFile(BaseModel):
    """What the API says of a file, as far as it is used."""

    filename: Annotated[str, AfterValidator(_safe_name)]
    size: Size
    sha256: Annotated[str, AfterValidator(str.lower)] = Field(
        validation_alias=AliasPath("content_details", "sha256_hash"), pattern=r"^[0-9A-Fa-f]{64}$"
    )
    id: Text
    url: str = Field(
        validation_alias=AliasPath("content_details", "download_url"), pattern=r"^https?://"
    )


class Dataset(BaseModel):
    """What dataset.json says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    doi: str
    version: int
    licence: str
    citation: str
    paper: str
    files: tuple[DatasetFile, ...]

    @model_validator(mode="after")
    def _names_one_archive(self) -> Dataset:
        names = [file.filename for file in self.files]
        if len({name.lower() for name in [RECORD, *names]}) <= len(names):
            raise ValueError(f"two files have the same name: {', '.join(names)}")
        if len([name for name in names if is_archive(name)]) != 1:
            raise ValueError(f"exactly one of the files must be an archive: {names}")
        return self

    @property
    def archive(self) -> str:
        """The name of the file with the photographs."""
        return next(file.filename for file in self.files if is_archive(file.filename))

    def described_files(self) -> list[str]:
        """Return one line a file: its name, size and SHA-256."""
        return [
            f"{file.filename}: {file.size:,} bytes, SHA-256 `{file.sha256}`" for file in self.files
        ]


def fetch_dataset(folder: Path) -> Dataset:
    """Return what lies in `folder`, every file compared with its SHA-256.

    What is missing or damaged there is fetched; without anything missing no network is used.

    Raises:
        SourceError: the data set cannot be had from the server, or not be stored.
        SourceUnavailable: the server cannot be reached, or refuses for now.
    """
    return _stored(folder) or _fetched(folder)


def _stored(folder: Path) -> Dataset | None:
    """Return what dataset.json says, or None unless every file is there and unaltered."""
    try:
        record = Dataset.model_validate_json((folder / RECORD).read_bytes())
        whole = all(
            is_whole(folder / file.filename, file.size, file.sha256) for file in record.files
        )
    except (OSError, ValueError):
        return None  # nothing yet, or damaged since: fetching repairs both
    return record if whole and record.doi == DOI else None


def _fetched(folder: Path) -> Dataset:
    with _naming_the_remedy():
        listing = _listing()
        record = _record_of(listing)
        for listed, file in zip(listing, record.files, strict=True):
            download(
                listed.url,
                folder / file.filename,
                size=file.size,
                sha256=file.sha256,
                description=f"fetching {file.filename}",
            )
    write_json(folder / RECORD, record.model_dump(mode="json"))
    return record


@contextmanager
def _naming_the_remedy() -> Iterator[None]:
    try:
        yield
    except StorageUnavailable as error:
        raise SourceUnavailable(f"{error} {REMEDY}") from None
    except (SourceError, StorageError) as error:
        raise SourceError(f"{error} {REMEDY}") from None


def _listing() -> list[_ListedFile]:
    """Return what the API says of the files, in the order of their names."""
    base = (os.environ.get(BASE_VARIABLE) or BASE_URL).rstrip("/")
    url = f"{base}/datasets/{DATASET}/files?folder_id=root&version={VERSION}"
    content = read_json(url)
    try:
        listing = TypeAdapter(list[_ListedFile]).validate_python(content)
    except ValueError as error:
        raise _strange(reason_of(error)) from None
    return sorted(listing, key=lambda listed: listed.filename)


def _record_of(listing: Sequence[_ListedFile]) -> Dataset:
    try:
        return Dataset(
            doi=DOI,
            version=VERSION,
            licence=LICENCE,
            citation=CITATION,
            paper=PAPER,
            files=tuple(DatasetFile(**listed.model_dump(exclude={"url"})) for listed in listing),
        )
    except ValueError as error:
        raise _strange(reason_of(error)) from None


def _strange(reason: str) -> SourceError:
    return SourceError(f"Mendeley Data lists the data set {DOI} in an unknown way ({reason}).")
