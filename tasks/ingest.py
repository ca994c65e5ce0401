"""ingest: photographs from their sources into Parquet shards, a manifest, a quarantine list."""

from __future__ import annotations

from cracks.dataset.figures import draw_examples
from cracks.dataset.ingest.append import (
    Intake,
    Memory,
    carry_over,
    relocated,
    require_accepted,
    take_in,
)
from cracks.dataset.ingest.data_card import data_card
from cracks.dataset.ingest.sources.mendeley import described_files
from cracks.dataset.ingest.sources.source_list import Sources, open_sources
from cracks.dataset.labels import LABELS
from cracks.dataset.manifest import (
    QUARANTINE_COLUMNS,
    ManifestWriter,
    known_facts,
    rewrite_manifest,
)
from cracks.dataset.shards import ShardWriter, count_rows, next_shard, stored_places
from cracks.system.atomic_files import atomic_replace, restore, write_text
from cracks.system.console import progress
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.stage_reports import IngestReport
from cracks.workspace.tables import read_table, write_csv

#: DVC warns of empty folders, and most sources fetch nothing.
RAW = "Archives as they were published. `ingest` fetches them once; DVC versions them.\n"


def ingest(params: Params, paths: Paths) -> IngestReport:
    """Read every file of the sources once; whatever is unusable is listed, nothing is deleted.

    Raises:
        SourceError: a source is missing, damaged, unsafe, or a label is in none of them.
        DataError: the labels of stored photographs changed and nobody accepted that.
    """
    restore(paths.images)
    with open_sources(params.ingest, paths) as sources:
        taken = _taken(params, paths, sources)
        digest = sources.digest()
    write_text(paths.raw / "README.md", RAW)
    write_csv(taken.quarantine, paths.quarantine, QUARANTINE_COLUMNS)
    drawn = read_table(paths.manifest, ("label", "shard", "row", "width"))
    draw_examples(drawn, paths.images, paths.figures("ingest"))
    report: IngestReport = {
        "source": " + ".join(params.ingest.sources),
        "source_digest": digest,
        "files": taken.patches + taken.repeated + len(taken.quarantine),
        "patches": taken.patches,
        "distinct_patches": count_rows(paths.images),
        "quarantined": len(taken.quarantine),
        "labels": {label: taken.labels[label] for label in LABELS},
    }
    files = described_files(paths.raw) if "mendeley" in params.ingest.sources else []
    write_text(paths.data_card, data_card(params.ingest.sources, report, files))
    return report


def _taken(params: Params, paths: Paths, sources: Sources) -> Intake:
    before = stored_places(paths.images)
    memory, total = Memory(before, known_facts(paths.manifest)), sources.count()
    with atomic_replace(paths.images) as images, atomic_replace(paths.manifest) as manifest:
        writer = ShardWriter(images, params.ingest.shard_rows, next_shard(paths.images))
        with (
            ManifestWriter(manifest) as rows,
            progress(total, "reading photographs", "images") as advance,
        ):
            taken = take_in(
                sources.files(), memory, params.ingest.patch_size, writer, rows, advance
            )
        require_accepted(taken.relabels, paths.relabels)
        moves = carry_over(paths.images, images, memory.places, taken)
        if moves:
            rewrite_manifest(relocated(read_table(manifest), moves), manifest)
    return taken
