"""ingest: photographs from their sources into Parquet shards, a manifest, a quarantine list."""

from __future__ import annotations

from cracks.dataset.figures import draw_examples
from cracks.dataset.ingest.append import take_all
from cracks.dataset.ingest.data_card import data_card
from cracks.dataset.ingest.sources.source_list import open_sources
from cracks.dataset.labels import LABELS
from cracks.dataset.manifest import QUARANTINE_COLUMNS
from cracks.dataset.photos.site_table import SITE_COLUMNS, site_rows
from cracks.dataset.shards import count_rows
from cracks.system.atomic_files import restore, write_text
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
        StorageError: the bucket of a source refuses, or does not answer.
        DataError: the labels of stored photographs changed and nobody accepted that.
    """
    restore(paths.images)
    with open_sources(params.ingest, paths) as sources:
        taken, photos = take_all(sources, params, paths)
        digest, files = sources.digest(), sources.described_files()
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
        "photos": photos,
    }
    sites = site_rows(read_table(paths.manifest, SITE_COLUMNS).to_pandas())
    write_text(paths.data_card, data_card(params.ingest.sources, report, files, sites))
    return report
