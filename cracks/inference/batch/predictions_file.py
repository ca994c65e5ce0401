"""Predictions in Parquet, written shard by shard: a killed run leaves whole shards and resumes.

    answers/                    --out answers
      part-00000.parquet        at most SHARD_ROWS predictions each
      unreadable.csv            the files without a prediction, each with the reason

    answers.parquet             --out answers.parquet: one file in the end
    .answers.parquet.parts/     the shards until then
    answers.unreadable.csv

Every shard names the model in its metadata, so that no two models are ever mixed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from cracks.dataset.shards import next_shard, shard_files, shard_name
from cracks.errors import WorkspaceBusy, WorkspaceError
from cracks.images.files import ImageFile
from cracks.inference.batch.scoring import ScoredChunk, Unreadable
from cracks.inference.handover.champion import Champion
from cracks.system.atomic_files import atomic_replace, remove
from cracks.workspace.tables import write_csv

SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("novelty", pa.float64()),
        pa.field("novel", pa.bool_()),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("image_sha256", pa.string(), nullable=False),
        pa.field("stamp", pa.string(), nullable=False),  # size and time, or ETag, of the file
    ]
)

#: Predictions of a shard: a killed process loses no more than those of one.
SHARD_ROWS = 4096

#: The key of the metadata that says which model predicted.
MODEL = b"cracks.model"

SUFFIX = ".parquet"


class PredictionsFile:
    """The predictions of one model at one place."""

    def __init__(self, out: Path, champion: Champion) -> None:
        """Take the place and the model; `opened` looks at what is there."""
        self._out, self._champion = out, champion
        self._is_file = out.suffix.lower() == SUFFIX
        self._folder = out.with_name(f".{out.name}.parts") if self._is_file else out
        self._rows: list[dict[str, Any]] = []
        self._unreadable: list[Unreadable] = []

    @contextmanager
    def opened(self) -> Iterator[PredictionsFile]:
        """Lock the place for this process; when the block ends, what was added is written.

        Raises:
            WorkspaceBusy: another process writes there.
            WorkspaceError: something else lies there, or the predictions of another model.
        """
        with _explaining(self._out):
            self._require_usable()
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                lock = FileLock(self._folder / ".lock", timeout=0).acquire()
            except Timeout:
                raise WorkspaceBusy(
                    f"Another process writes predictions to {self._out}. Wait for it, or give "
                    "another --out."
                ) from None
            with lock:
                self._require_same_model()
                try:
                    yield self
                finally:
                    self._flush()
                    self._list_unreadable()

    def missing(self, files: Sequence[ImageFile]) -> list[ImageFile]:
        """Return the files without a prediction; remove the predictions for changed files."""
        stamps = self._stamps()
        missing = [file for file in files if stamps.get(file.name) != file.stamp]
        if changed := [file.name for file in missing if file.name in stamps]:
            self._remove(changed)
        return missing

    def add(self, chunk: ScoredChunk) -> None:
        """Take predictions; they are written as soon as they fill a shard."""
        self._rows += chunk.rows
        self._unreadable += chunk.unreadable
        if len(self._rows) >= SHARD_ROWS:
            self._flush()

    def finish(self) -> None:
        """Write the last shard; if `out` is one file, make it of the shards."""
        self._flush()
        if not self._is_file:
            return
        with (
            atomic_replace(self._out) as partial,
            pq.ParquetWriter(partial, self._schema) as writer,
        ):
            for table in self._tables():
                writer.write_table(table)
        for shard in shard_files(self._folder):
            shard.unlink()
        remove(self._folder)

    def summary(self) -> dict[str, Any]:
        """Return the counts: predictions, cracks, novel and unreadable files; and the model."""
        tables = list(self._tables("label", "novel"))
        labels, novel = (
            pa.chunked_array([table[name].combine_chunks() for table in tables], type_)
            for name, type_ in (("label", pa.string()), ("novel", pa.bool_()))
        )
        return {
            "answers": len(labels),
            "cracks": pc.sum(pc.equal(labels, "crack"), min_count=0).as_py(),
            "novel": pc.sum(novel, min_count=0).as_py() if novel.null_count < len(novel) else None,
            "unreadable": self.unreadable,
            "out": str(self._out),
            "unreadable_list": str(self.unreadable_list) if self._unreadable else None,
            "model_version": self._champion.version,
            "run_id": self._champion.run_id,
        }

    @property
    def unreadable(self) -> int:
        """How many files could not be read."""
        return len(self._unreadable)

    @property
    def unreadable_list(self) -> Path:
        """The table of the files that could not be read."""
        if self._is_file:
            return self._out.with_name(f"{self._out.stem}.unreadable.csv")
        return self._folder / "unreadable.csv"

    @property
    def _schema(self) -> pa.Schema:
        return SCHEMA.with_metadata({MODEL: json.dumps(_identity(self._champion)).encode()})

    def _places(self) -> list[Path]:
        shards = shard_files(self._folder)
        return [self._out, *shards] if self._is_file and self._out.is_file() else shards

    def _tables(self, *columns: str) -> Iterator[pa.Table]:
        for place in self._places():
            yield pq.read_table(place, columns=list(columns) or None)

    def _require_usable(self) -> None:
        if self._is_file and self._out.is_dir():
            raise WorkspaceError(f"{self._out} is a folder. Give --out another name.")
        if not self._is_file and self._out.is_file():
            raise WorkspaceError(
                f"{self._out} is a file. Give --out a folder, or a name that ends in {SUFFIX}."
            )

    def _require_same_model(self) -> None:
        for place in self._places():
            said = _said_model(place)
            if said is None:
                raise WorkspaceError(
                    f"{place} does not hold predictions of `cracks predict`. Give another --out."
                )
            if said != _identity(self._champion):
                raise WorkspaceError(
                    f"{self._out} holds predictions of version {said.get('version')} (bundle "
                    f"{str(said.get('bundle_digest'))[:12]}), and version "
                    f"{self._champion.version} (bundle {self._champion.bundle_digest[:12]}) "
                    "is in service now. Give another --out, or remove the old one."
                )

    def _stamps(self) -> dict[str, str]:
        stamps: dict[str, str] = {}
        for table in self._tables("file", "stamp"):
            stamps |= zip(table["file"].to_pylist(), table["stamp"].to_pylist(), strict=True)
        return stamps

    def _remove(self, names: Sequence[str]) -> None:
        changed = pa.array(names, pa.string())
        for place in self._places():
            table = pq.read_table(place)
            kept = table.filter(pc.invert(pc.is_in(table["file"], changed)))
            if len(kept) < len(table):
                self._write(kept, place)

    def _flush(self) -> None:
        if self._rows:
            place = self._folder / shard_name(next_shard(self._folder))
            self._write(pa.Table.from_pylist(self._rows, SCHEMA), place)
            self._rows = []

    def _write(self, table: pa.Table, place: Path) -> None:
        with atomic_replace(place) as partial:
            named = table.replace_schema_metadata(self._schema.metadata)
            pq.write_table(named, partial, compression="zstd")

    def _list_unreadable(self) -> None:
        if self._unreadable:
            rows = [asdict(one) for one in self._unreadable]
            write_csv(rows, self.unreadable_list)
        else:
            self.unreadable_list.unlink(missing_ok=True)


def _identity(champion: Champion) -> dict[str, str]:
    return {
        "model_name": champion.model_name,
        "version": champion.version,
        "run_id": champion.run_id,
        "bundle_digest": champion.bundle_digest,
    }


def _said_model(place: Path) -> dict[str, Any] | None:
    """Return the model that a shard names; None where it is no shard of predictions."""
    try:
        metadata = pq.read_schema(place).metadata or {}
        said = json.loads(metadata.get(MODEL, b"null"))
    except (pa.ArrowException, OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


@contextmanager
def _explaining(out: Path) -> Iterator[None]:
    """Turn an OSError into a message that says why a place cannot be written."""
    try:
        yield
    except OSError as error:
        raise WorkspaceError(
            f"{out} cannot be written ({error.strerror or error}). Make room, or give another "
            "--out; what was predicted is kept."
        ) from None
