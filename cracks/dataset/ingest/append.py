"""Take in the files of a source: what is known keeps its place, what is new is appended.

The shards are the memory of a data set. A file whose bytes lie in a shard stays there, whatever its
path is now; new bytes go to new shards; a shard is rewritten only if one of its patches has
gone or got another label. So DVC stores and sends only what is new.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cracks.dataset.ingest.provenance import with_provenance
from cracks.dataset.ingest.sources.base import SourceFile
from cracks.dataset.ingest.sources.source_list import Sources
from cracks.dataset.manifest import (
    KnownFacts,
    ManifestWriter,
    known_facts,
    rewrite_manifest,
    with_column,
)
from cracks.dataset.patch_facts import PatchFacts, inspect_patch
from cracks.dataset.shards import (
    Places,
    ShardPosition,
    ShardRow,
    ShardWriter,
    next_shard,
    shard_files,
    shard_name,
    shard_number,
    stored_places,
    write_shard,
)
from cracks.errors import DataError, UnreadableImage
from cracks.system.atomic_files import atomic_replace
from cracks.system.console import Advance, progress
from cracks.system.hashing import digest_of_bytes, digest_of_value
from cracks.workspace.params import Params
from cracks.workspace.paths import ACCEPT_RELABELS, Paths
from cracks.workspace.stage_reports import PhotosReport
from cracks.workspace.tables import read_table, write_csv

#: Files that one thread looks at in one go, and such batches that wait for a thread.
BATCH, WAITING = 32, 8


@dataclass
class Intake:
    """What became of the files."""

    quarantine: list[dict[str, str]] = field(default_factory=list)
    relabels: list[dict[str, str]] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    #: Numbers of stored patches that no file has any more, and the new label of others.
    gone: list[int] = field(default_factory=list)
    relabelled: dict[int, str] = field(default_factory=dict)

    @property
    def patches(self) -> int:
        """Return how many files were usable."""
        return self.labels.total()


#: A file, its id, and its facts or the reason why it is unusable.
Examined = tuple[SourceFile, str, PatchFacts | str]


@dataclass(frozen=True)
class Move:
    """Where the rows of a shard went: to another shard, or other rows of it (-1: gone)."""

    shard: int
    rows: npt.NDArray[np.int64] | None = None


def take_all(sources: Sources, params: Params, paths: Paths) -> tuple[Intake, PhotosReport]:
    """Append what the sources have to the shards and the manifest of a workspace, all or nothing.

    Raises:
        SourceError: a source is damaged, a label is in none of them, or a photos.csv is not sound.
        DataError: the labels of stored photographs changed and nobody accepted that.
    """
    places, facts = stored_places(paths.images), known_facts(paths.manifest)
    total, size = sources.count(), params.ingest.patch_size
    with atomic_replace(paths.images) as images, atomic_replace(paths.manifest) as manifest:
        writer = ShardWriter(images, params.ingest.shard_rows, next_shard(paths.images))
        with (
            closing(ManifestWriter(manifest)) as rows,
            progress(total, "reading photographs", "images") as advance,
        ):
            taken = take_in(sources.files(), places, facts, size, writer, rows, advance)
        require_accepted(taken.relabels, paths.relabels)
        moves = carry_over(paths.images, images, places, taken)
        table = relocated(read_table(manifest), moves)
        table, photos = with_provenance(table, sources.photo_rows(), params.ingest)
        rewrite_manifest(table, manifest)
    return taken, photos


def take_in(
    files: Iterable[SourceFile],
    places: Places,
    facts: KnownFacts,
    size: int,
    writer: ShardWriter,
    manifest: ManifestWriter,
    advance: Advance,
) -> Intake:
    """Sort every file of a source: known, new, or unusable.

    Args:
        files: in the order that the manifest shall have.
        places: where the stored patches lie; those of new patches are added.
        facts: what is known of stored patches.
        size: width and height in pixels that a patch must have.
        writer: takes the bytes of new patches.
        manifest: takes one row a usable file; the very same file from a second source is none.
        advance: is told of every file.
    """
    intake, stored = Intake(), len(places)
    named: set[bytes] = set()  # 16 bytes for each file and path
    # By the number of a stored patch: whether a file has its label, and the path and label of the
    # first file that has another.
    has_its_label, others = bytearray(stored), dict[int, tuple[str, str]]()
    for file, id_, found in _examined(files, facts, size):
        advance(1)
        if isinstance(found, str):
            intake.quarantine.append(_in_quarantine(file, found))
            continue
        name = bytes.fromhex(digest_of_value([id_, file.path])[:32])
        if name in named:
            intake.repeated += 1
            continue
        named.add(name)
        number = places.number(id_)
        if number is None:
            place = writer.add(ShardRow(id_, file.label, file.path, file.content))
            places.add(id_, place)
        else:
            place = places.place(number)
            if number < stored and place.label == file.label:
                has_its_label[number] = True
            elif number < stored:
                others.setdefault(number, (file.path, file.label))
        intake.labels[file.label] += 1
        manifest.add(_row(file, id_, place, found))
    writer.flush()
    intake.gone = [i for i in range(stored) if not has_its_label[i] and i not in others]
    for number, (path, label) in others.items():
        if not has_its_label[number]:
            before = places.place(number).label
            intake.relabelled[number] = label
            intake.relabels.append({"path": path, "before": before, "now": label})
    return intake


def require_accepted(relabels: Sequence[dict[str, str]], report: Path) -> None:
    """Refuse changed labels that nobody has accepted; they are listed in the file `report`.

    Raises:
        DataError: stored photographs come with another label.
    """
    report.unlink(missing_ok=True)
    if not relabels or os.environ.get(ACCEPT_RELABELS) == "1":
        return
    write_csv(relabels, report)
    one = relabels[0]
    raise DataError(
        f"ingest: stored photographs come with another label: {len(relabels)}, for example "
        f"{one['path']}: `{one['before']}` before, `{one['now']}` now. Nothing was changed; "
        f"{report} lists them. If that is meant: `cracks train --accept-relabels` (or "
        f"{ACCEPT_RELABELS}=1 dvc repro)."
    )


def carry_over(before: Path, after: Path, places: Places, intake: Intake) -> dict[int, Move]:
    """Put the stored shards beside the new ones, unchanged ones as they are.

    Args:
        before: folder of the stored shards; may be missing.
        after: folder that holds the new shards.
        places: where the stored patches lie.
        intake: which of them have gone or changed their label.

    Returns:
        What moved, by number of shard.
    """
    gone: dict[int, list[int]] = defaultdict(list)
    labels: dict[int, dict[int, str]] = defaultdict(dict)
    for number in intake.gone:
        place = places.place(number)
        gone[place.shard].append(place.row)
    for number, label in intake.relabelled.items():
        place = places.place(number)
        labels[place.shard][place.row] = label
    moves, new, kept = {}, shard_files(after), 0
    for shard in shard_files(before):
        number = shard_number(shard.name)
        if number not in gone and number not in labels:
            link_or_copy(shard, after / shard.name)
            kept += 1
            continue
        table = pq.read_table(shard)
        values = table["label"].to_pylist()
        for row, label in labels[number].items():
            values[row] = label
        table = with_column(table, "label", values)
        keep = np.ones(len(table), bool)
        keep[gone[number]] = False
        if keep.any():
            write_shard(table.filter(pa.array(keep)), after / shard.name)
            kept += 1
        if gone[number]:
            moves[number] = Move(number, np.where(keep, np.cumsum(keep) - 1, -1))
    return moves if kept else moves | _renumbered(new)


def relocated(manifest: pa.Table, moves: dict[int, Move]) -> pa.Table:
    """Return the manifest with the places after `moves`."""
    if not moves:
        return manifest
    shards, rows = [], []
    places = zip(manifest["shard"].to_pylist(), manifest["row"].to_pylist(), strict=True)
    for shard, row in places:
        move = moves.get(shard_number(shard))
        shards.append(shard_name(move.shard) if move else shard)
        rows.append(row if move is None or move.rows is None else int(move.rows[row]))
    return with_column(with_column(manifest, "shard", shards), "row", rows)


def link_or_copy(file: Path, target: Path) -> None:
    """Give `file` a second name, which costs nothing, or copy it where the disk cannot."""
    try:
        os.link(file, target)
    except OSError:
        target.write_bytes(file.read_bytes())


def _examined(files: Iterable[SourceFile], known: KnownFacts, size: int) -> Iterator[Examined]:
    """Yield each file with its id and its facts, or the reason why it is unusable."""

    def facts_of(file: SourceFile, facts: PatchFacts | None) -> PatchFacts | str:
        try:
            file.path.encode()
            if facts and (facts.width, facts.height) == (size, size):
                return facts
            return inspect_patch(file.content, size)
        except UnicodeEncodeError:
            return "the file's name is no UTF-8"
        except UnreadableImage as error:
            return str(error)

    def examined(batch: Sequence[SourceFile]) -> list[Examined]:
        ids = [digest_of_bytes(file.content) for file in batch]
        return list(zip(batch, ids, map(facts_of, batch, known.of(ids)), strict=True))

    remaining, running = iter(files), deque[Future[list[Examined]]]()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # While the threads look at some files, the next ones are read and the last ones stored.
        while batch := list(islice(remaining, BATCH)):
            running.append(pool.submit(examined, batch))
            if len(running) > WAITING:
                yield from running.popleft().result()
        for future in running:
            yield from future.result()


def _row(file: SourceFile, id_: str, place: ShardPosition, facts: PatchFacts) -> dict[str, Any]:
    return {
        "id": id_,
        "source": file.source,
        "path": file.path,
        "label": file.label,
        "shard": shard_name(place.shard),
        "row": place.row,
        **vars(facts),
    }


def _in_quarantine(file: SourceFile, reason: str) -> dict[str, str]:
    # A name that is no UTF-8 is shown with escapes: a list must open anywhere.
    path = file.path.encode("utf-8", "backslashreplace").decode()
    return {"source": file.source, "path": path, "label": file.label, "reason": reason}


def _renumbered(shards: list[Path]) -> dict[int, Move]:
    """Let the shards begin with 0, as they would if nothing had been stored before."""
    moves = {}
    for number, shard in enumerate(shards):
        if (old := shard_number(shard.name)) != number:
            shard.rename(shard.with_name(shard_name(number)))
            moves[old] = Move(number)
    return moves
