"""Hand a bundle over to serving: a folder of bundles, and one small file that names the champion.

    service/
      champion.json              which bundle is in service; replaced atomically
      bundles/v3-1f0a2b3c4d5e/   a bundle, complete before champion.json names it

Serving needs nothing but this folder, so it keeps predicting while MLflow is down.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cracks.errors import BundleError, ServiceError
from cracks.inference.bundle.bundle import Bundle, open_bundle
from cracks.system.atomic_files import atomic_replace, write_json
from cracks.system.validation_errors import reason_of

POINTER = "champion.json"


class Champion(BaseModel):
    """The content of champion.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_name: str
    version: str
    run_id: str
    #: The folder below bundles/, a plain name.
    bundle: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    bundle_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    promoted_at: str
    #: The promotion that named it; empty in the time before promotions were transactions.
    transaction: str = ""

    def folder(self, service: Path) -> Path:
        """Return where the bundle lies."""
        return service / "bundles" / self.bundle


def stage_bundle(service: Path, bundle: Bundle, version: str) -> str:
    """Copy a verified bundle into the service folder and return its name there.

    Raises:
        BundleError: the copy is not the same.
    """
    name = _name(bundle.digest, version)
    place = service / "bundles" / name
    if _whole_bundle(place) is None:
        with atomic_replace(place) as partial:
            shutil.copytree(bundle.folder, partial)
    if open_bundle(place).digest != bundle.digest:
        raise BundleError(
            f"Another bundle than that of version {version} lies in {place}. "
            "Move it away, then promote again."
        )
    return name


def staged_bundle(service: Path, digest: str, version: str) -> Bundle | None:
    """Return the bundle of a version if an earlier promotion has left it here, whole."""
    bundle = _whole_bundle(service / "bundles" / _name(digest, version))
    return bundle if bundle and bundle.digest == digest else None


def _name(digest: str, version: str) -> str:
    return f"v{version}-{digest[:12]}"


def _whole_bundle(place: Path) -> Bundle | None:
    try:
        return open_bundle(place)
    except BundleError:
        return None  # nothing yet, or a copy that was damaged since


def name_champion(service: Path, champion: Champion) -> None:
    """Put `champion` into service."""
    write_json(service / POINTER, champion.model_dump())


def withdraw_champion(service: Path) -> None:
    """Name no champion; a running service keeps the one that it has."""
    (service / POINTER).unlink(missing_ok=True)


def read_champion(service: Path) -> Champion | None:
    """Return the champion in service, or None where there is none yet.

    Raises:
        ServiceError: champion.json is damaged.
    """
    try:
        return Champion.model_validate(json.loads((service / POINTER).read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError as error:  # no UTF-8, no JSON, or not what a champion says
        reason = reason_of(error)
        raise ServiceError(
            f"{service / POINTER} is damaged ({reason}). Promote a version again to rewrite it."
        ) from None


def open_champion(service: Path) -> tuple[Champion, Bundle]:
    """Return the champion in service and its verified bundle.

    Raises:
        ServiceError: there is none.
        BundleError: the bundle is damaged or not the one that was promoted.
    """
    champion = read_champion(service)
    if champion is None:
        raise ServiceError(
            f"No champion is in service yet (nothing in {service}). Run `cracks train` first."
        )
    return champion, open_promoted(service, champion)


def open_promoted(service: Path, champion: Champion) -> Bundle:
    """Return the verified bundle of a champion.

    Raises:
        BundleError: the bundle is damaged or not the one that was promoted.
    """
    bundle = open_bundle(champion.folder(service))
    if bundle.digest != champion.bundle_digest:
        raise BundleError(
            f"The bundle {bundle.folder} is not the one that was promoted as version "
            f"{champion.version}: its digest is {bundle.digest[:12]}…, not "
            f"{champion.bundle_digest[:12]}…."
        )
    return bundle
