"""Take photographs from where `ingest.source` points, one place or several."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import PurePath

from cracks.dataset.ingest.sources.base import Source, SourceFile, label_of
from cracks.dataset.ingest.sources.local import open_path
from cracks.dataset.ingest.sources.remote import open_mendeley, open_s3
from cracks.dataset.ingest.sources.synthetic import DrawnSource
from cracks.dataset.labels import LABELS
from cracks.dataset.photos.photo_table import PhotoRow
from cracks.errors import SourceError
from cracks.system.hashing import digest_of_value
from cracks.workspace.params import IngestParams
from cracks.workspace.paths import Paths

LAYOUT = "Expected are the folders Positive/ (crack) and Negative/ (no crack)"

#: Opens one place of `ingest.source`, as it is written there.
Opener = Callable[[str, IngestParams, Paths], AbstractContextManager[Source]]

#: By the name of a source, or by how its address begins; whatever has none lies on this machine.
OPENERS: dict[str, Opener] = {
    "sample": lambda _source, params, _paths: nullcontext(
        DrawnSource(params.sample.patches, params.sample.seed)
    ),
    "mendeley": lambda _source, _params, paths: open_mendeley(paths.raw),
    "s3://": lambda source, _params, paths: open_s3(source, paths.mirror),
}


class Sources:
    """All places of `ingest.source`, in their order."""

    def __init__(self, sources: Sequence[Source], names: str) -> None:
        self._sources, self._names = sources, names

    def count(self) -> int:
        """Return how many labelled files there are.

        Raises:
            SourceError: an archive is damaged or unsafe, or a label is in none of the sources.
        """
        paths = [path for source in self._sources for path in source.paths()]
        _require_both_labels(paths, self._names)
        return len(paths)

    def digest(self) -> str:
        """Return 64 hexadecimal digits that change when the content of any source changes."""
        digests = [source.digest() for source in self._sources]
        return digests[0] if len(digests) == 1 else digest_of_value(digests)

    def described_files(self) -> list[str]:
        """Return one line a file that was downloaded from a publisher, in every source."""
        return [line for source in self._sources for line in source.described_files]

    def files(self) -> Iterator[SourceFile]:
        """Yield every labelled file.

        Raises:
            SourceError: a file cannot be read.
        """
        for source in self._sources:
            yield from source.files()

    def photo_rows(self) -> dict[str, dict[str, PhotoRow]]:
        """Return what every photos.csv says, by source and path, when `files` has been read.

        Raises:
            SourceError: one cannot be read, or is not sound.
        """
        rows: dict[str, dict[str, PhotoRow]] = defaultdict(dict)
        for source in self._sources:
            rows[source.name] |= source.photo_rows()
        return rows


@contextmanager
def open_sources(params: IngestParams, paths: Paths) -> Iterator[Sources]:
    """Open every place of `params.source`; a relative path is meant from the workspace.

    Raises:
        SourceError, StorageError: one does not exist, or cannot be opened.
        SourceUnavailable, StorageUnavailable: one is on a server that does not answer.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(_open(one, params, paths)) for one in params.sources]
        yield Sources(opened, " and ".join(params.sources))


def _open(source: str, params: IngestParams, paths: Paths) -> AbstractContextManager[Source]:
    scheme, separator, _ = source.partition("://")
    if opener := OPENERS.get(scheme + separator):
        return opener(source, params, paths)
    path = paths.root / os.path.expanduser(source)  # noqa: PTH111 (Path raises for ~nobody)
    # Where a source lies differs from machine to machine; its name does not.
    return open_path(path, PurePath(source).name or path.name)


def _require_both_labels(paths: Sequence[str], where: str) -> None:
    found = {label_of(path) for path in paths}
    missing = [label for label in LABELS if label not in found]
    if missing:
        names = " and ".join(f"`{label}`" for label in missing)
        raise SourceError(f"ingest.source: {where} holds no photograph of {names}. {LAYOUT}.")
