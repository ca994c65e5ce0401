"""What a back-up says of itself: its parts, each file with its SHA-256, and the tools used."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cracks.errors import CracksError
from cracks.system.hashing import digest_of_value
from cracks.system.validation_errors import reason_of


class BackupRefused(CracksError):
    """Nothing was backed up or restored; the message says why and what to do."""


def _is_below(path: str) -> str:
    """Return a path that leads to nowhere but below its part."""
    if path.startswith("/") or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"{path!r} leads out of its part")
    return path


class SavedFile(BaseModel):
    """One file: its path below its part, its content, and whether only its owner may read it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, AfterValidator(_is_below)]
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    private: bool = False


class Part(BaseModel):
    """A database, or the files of one place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["postgresql", "sqlite", "files"]
    #: Where it lay, without any password.
    origin: str
    files: list[SavedFile]

    @property
    def size(self) -> int:
        """The bytes of all its files."""
        return sum(file.size for file in self.files)


class Manifest(BaseModel):
    """A back-up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str
    tools: dict[str, str]
    parts: list[Part]

    @property
    def text(self) -> str:
        """The one way to write it as JSON, with its own digest."""
        content = self.model_dump()
        sealed = content | {"sha256": digest_of_value(content)}
        return json.dumps(sealed, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """Return what was written.

        Raises:
            BackupRefused: it is damaged; `where` names it.
        """
        try:
            content: dict[str, Any] = dict(json.loads(text))
            sealed = content.pop("sha256", None)
            manifest = cls.model_validate(content)
        except ValueError as error:
            raise BackupRefused(
                f"{where} is damaged ({reason_of(error)}). Take an earlier back-up with NAME=."
            ) from None
        if sealed != digest_of_value(content):
            raise BackupRefused(
                f"{where} is damaged: it does not have its own SHA-256. Take an earlier back-up "
                "with NAME=."
            )
        return manifest
