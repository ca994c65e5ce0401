"""Every limit of the service, in one place; the environment (CRACKS_SERVE_*) sets them."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cracks.errors import ServiceError

MEGABYTE = 1024 * 1024

PREFIX = "CRACKS_SERVE_"

#: Nothing but a place that a browser may go to.
WebAddress = Annotated[str, Field(pattern=r"^https?://[^\s\"'<>]+$")]


class ServiceSettings(BaseSettings):
    """Where the service finds its things, and how much it takes on."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    #: The folder through which promotion hands bundles over.
    service: Path
    #: Whether anybody may ask; otherwise a key is wanted.
    open: bool = False
    #: The digests of the keys. Unset: keys.json in the service folder.
    keys_file: Path | None = None
    #: Where the prediction log is kept, a folder or s3://…; unset: answers/ beside the bundles.
    answers: str | None = None
    answers_max_mb: Annotated[int, Field(ge=1)] = 2048
    #: How many processes serve; they share the cores and the port.
    processes: Annotated[int, Field(ge=1)] = 1
    #: Whether the prediction log keeps the images themselves.
    keep_images: bool = False
    #: Where a person's browser finds the other tools; the overview links to those that are named.
    mlflow_url: WebAddress | None = None
    prefect_url: WebAddress | None = None
    data_docs_url: WebAddress | None = None

    #: Of one request, with all its files; and of one in JSON, which grows tenfold when it is read.
    max_upload_mb: Annotated[int, Field(ge=1)] = 40
    max_json_mb: Annotated[int, Field(ge=1)] = 16
    max_files: Annotated[int, Field(ge=1)] = 64
    #: Of all requests that are being sent or processed.
    max_held_mb: Annotated[int, Field(ge=1)] = 256
    #: Of one patch and of one whole photograph, before it is decoded.
    max_patch_pixels: Annotated[int, Field(ge=1)] = 25_000_000
    max_photo_pixels: Annotated[int, Field(ge=1)] = 100_000_000
    #: Patches of one photograph: as many as are predicted in time on two cores.
    max_photo_patches: Annotated[int, Field(ge=1)] = 10_000
    #: Patches that may wait for the network; more get a 429.
    max_waiting: Annotated[int, Field(ge=1)] = 256
    #: Whole photographs that are inspected at a time, and that may wait.
    max_inspections: Annotated[int, Field(ge=1)] = 2
    #: Seconds that a client has to send its request, and the service to respond.
    upload_timeout: Annotated[float, Field(gt=0)] = 60
    answer_timeout: Annotated[float, Field(gt=0)] = 60

    @property
    def keys(self) -> Path:
        """The file of the digests of keys."""
        return self.keys_file or self.service / "keys.json"

    @property
    def record(self) -> str:
        """The place of the prediction log."""
        return self.answers or str(self.service / "answers")


def settings_of(service: Path, **chosen: Any) -> ServiceSettings:
    """Return the settings of the service in a folder: what is chosen, then the environment's.

    Raises:
        ServiceError: a variable has a value that is not allowed, or a name that means nothing.
    """
    names = {PREFIX + name.upper() for name in ServiceSettings.model_fields} - {f"{PREFIX}SERVICE"}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in names:
            near = get_close_matches(name, names, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ServiceError(f"The variable {name} is unknown.{hint} See .env.example.")
    try:
        return ServiceSettings(service=service, **chosen)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = PREFIX + str(problem["loc"][0]).upper()
        given = problem["input"]
        raise ServiceError(f"The variable {name} is {given!r}: {problem['msg'].lower()}.") from None
