"""ingest: photographs from a source into Parquet shards, a manifest, and a quarantine list."""

from __future__ import annotations

import csv
from pathlib import Path

from cracks.figures import draw_examples
from cracks.manifest import QUARANTINE_COLUMNS, Sorted, class_counts, manifest_table, sort_files
from cracks.outputs import replacing
from cracks.params import Params
from cracks.paths import Paths
from cracks.progress import progress
from cracks.reports import Report
from cracks.shards import ShardWriter
from cracks.sources import open_source
from cracks.tables import write_table


def ingest(params: Params, paths: Paths) -> Report:
    """Read every file of the source once; whatever is unusable is listed, nothing is deleted.

    Raises:
        SourceError: the source is missing, damaged, unsafe, or lacks one of the labels.
    """
    with open_source(params.ingest, paths.root) as source, replacing(paths.images) as images:
        writer = ShardWriter(images, params.ingest.shard_rows)
        with progress(len(source.paths()), "reading photographs", "images") as advance:
            result = sort_files(source.files(), params.ingest.patch_size, writer, advance)
        digest = source.digest()
    manifest = manifest_table(result.rows)
    write_table(manifest, paths.manifest)
    _write_quarantine(result, paths.quarantine)
    draw_examples(manifest, paths.images, paths.figures("ingest"))
    return {
        "source": params.ingest.source,
        "source_digest": digest,
        "files": len(result.rows) + len(result.quarantine),
        "patches": len(result.rows),
        "distinct_patches": len({row["id"] for row in result.rows}),
        "quarantined": len(result.quarantine),
        "labels": class_counts(row["label"] for row in result.rows),
    }


def _write_quarantine(result: Sorted, path: Path) -> None:
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, QUARANTINE_COLUMNS)
        writer.writeheader()
        writer.writerows(result.quarantine)
