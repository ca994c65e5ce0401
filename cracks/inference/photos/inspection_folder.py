"""Inspections on disk: a folder a photograph, written whole, and a page over all of them.

out/
  report.html           the page; open it in a browser
  settings.json         which model predicted, and how the photographs were cut
  unreadable.csv        the photographs that could not be inspected, each with the reason
  photos/pier-3-9e107d9d/
    overlay.jpg         the photograph with the heat map over it
    tiles.csv           one row a patch
    tile-1.jpg …        the patches with the highest scores
    inspection.json     all of it
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image

from cracks.errors import WorkspaceBusy, WorkspaceError
from cracks.images.decode import Pixels
from cracks.images.files import ImageFile
from cracks.inference.handover.champion import Champion
from cracks.inference.photos.inspection import PhotoInspection
from cracks.inference.photos.overlay import draw_overlay, encoded_picture
from cracks.inference.photos.report_page import report_page
from cracks.system.atomic_files import atomic_replace, write_json, write_text
from cracks.system.hashing import digest_of_value
from cracks.workspace.tables import write_csv

REPORT, SETTINGS, UNREADABLE, PHOTOS = "report.html", "settings.json", "unreadable.csv", "photos"
INSPECTION, OVERLAY, TILES = "inspection.json", "overlay.jpg", "tiles.csv"

#: Patches with the highest scores that are kept as pictures.
WORST_TILES = 4

#: Characters of a photograph's name, and digits of the digest of its whole name, in its folder's.
NAME_LENGTH, DIGITS = 60, 8


@dataclass(frozen=True)
class InspectionFolder:
    """The inspections by one model with one way of cutting photographs."""

    place: Path
    champion: Champion
    overlap: float
    mm_per_px: float | None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Lock the folder for this process.

        Raises:
            WorkspaceBusy: another process writes there.
            WorkspaceError: it cannot be written, or holds inspections made in another way.
        """
        try:
            (self.place / PHOTOS).mkdir(parents=True, exist_ok=True)
            with FileLock(self.place / ".lock", timeout=0):
                self._require_same_settings()
                yield
        except Timeout:
            raise WorkspaceBusy(
                f"Another process inspects photographs into {self.place}. Wait for it, or give "
                "another --out."
            ) from None
        except OSError as error:
            raise WorkspaceError(
                f"{self.place} cannot be written ({error.strerror or error}). Make room, or give "
                "another --out; what was inspected is kept."
            ) from None

    def missing(self, files: Sequence[ImageFile]) -> list[ImageFile]:
        """Return the photographs that were not inspected yet, or changed since."""
        return [file for file in files if (self._said(file) or {}).get("stamp") != file.stamp]

    def write(
        self, file: ImageFile, pixels: Pixels, inspection: PhotoInspection, said: dict[str, Any]
    ) -> None:
        """Write the inspection of a photograph atomically.

        Args:
            file: where it comes from.
            pixels: uint8 RGB (height, width, 3).
            inspection: what was found.
            said: what else belongs into inspection.json, such as the prediction id.
        """
        tiles = inspection.tiles()
        worst = sorted(tiles, key=lambda tile: -tile["score"])[:WORST_TILES]
        with atomic_replace(self._folder(file)) as folder:
            folder.mkdir()
            overlay = draw_overlay(pixels, inspection, self.champion.version)
            (folder / OVERLAY).write_bytes(encoded_picture(overlay, "JPEG"))
            write_csv(tiles, folder / TILES)
            for number, tile in enumerate(worst, start=1):
                patch = Image.fromarray(_cut(pixels, tile))
                (folder / tile_name(number)).write_bytes(encoded_picture(patch, "JPEG"))
            found = {"file": file.name, **inspection.to_json(), **said, "stamp": file.stamp}
            write_json(folder / INSPECTION, found | {"worst_tiles": worst})

    def write_report(
        self, files: Sequence[ImageFile], unreadable: Sequence[dict[str, str]]
    ) -> list[dict[str, Any]]:
        """Write the page over the photographs, and the list of those that could not be read.

        Returns:
            the content of inspection.json for each inspected photograph, without its tiles.
        """
        said = ((file, self._said(file)) for file in files)
        inspected = [
            self._shown(file, one) for file, one in said if one and one.get("stamp") == file.stamp
        ]
        if unreadable:
            write_csv(unreadable, self.place / UNREADABLE)
        else:
            (self.place / UNREADABLE).unlink(missing_ok=True)
        write_text(self.place / REPORT, report_page(inspected, unreadable, self.champion.version))
        return inspected

    def _require_same_settings(self) -> None:
        settings = {
            "model_name": self.champion.model_name,
            "model_version": self.champion.version,
            "run_id": self.champion.run_id,
            "bundle_digest": self.champion.bundle_digest,
            "overlap": self.overlap,
            "mm_per_px": self.mm_per_px,
        }
        path = self.place / SETTINGS
        try:
            said = json.loads(path.read_bytes())
        except FileNotFoundError:
            write_json(path, settings)
            return
        except ValueError:
            said = {}
        said = said if isinstance(said, dict) else {}
        for name, value in settings.items():
            if said.get(name) != value:
                raise WorkspaceError(
                    f"{self.place} holds inspections with {name} {said.get(name)}, not {value}. "
                    "Give another --out, or remove the old folder."
                )

    def _said(self, file: ImageFile) -> dict[str, Any] | None:
        try:
            said = json.loads((self._folder(file) / INSPECTION).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return said if isinstance(said, dict) else None

    def _shown(self, file: ImageFile, said: dict[str, Any]) -> dict[str, Any]:
        """Return the inspection of a photograph without its tiles, and where its files lie."""
        said.pop("tiles", None)
        folder = f"{PHOTOS}/{self._folder(file).name}"
        worst = said.pop("worst_tiles", [])
        return said | {
            "folder": folder,
            "overlay": f"{folder}/{OVERLAY}",
            "tiles_csv": f"{folder}/{TILES}",
            "inspection_json": f"{folder}/{INSPECTION}",
            "worst_tiles": [
                tile | {"picture": f"{folder}/{tile_name(number)}"}
                for number, tile in enumerate(worst, start=1)
            ],
        }

    def _folder(self, file: ImageFile) -> Path:
        """Return where a photograph's inspection lies; photographs may share a name, not a path."""
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", PurePosixPath(file.name).stem).strip("-")
        digits = digest_of_value(file.name)[:DIGITS]
        return self.place / PHOTOS / f"{stem[:NAME_LENGTH] or 'photo'}-{digits}"


def tile_name(number: int) -> str:
    """Return the name of the picture of one of the worst tiles."""
    return f"tile-{number}.jpg"


def _cut(pixels: Pixels, tile: dict[str, Any]) -> Pixels:
    x, y = tile["x"], tile["y"]
    return pixels[y : y + tile["height"], x : x + tile["width"]]
