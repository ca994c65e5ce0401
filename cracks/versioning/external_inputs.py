"""Tell whether what lies outside the workspace has changed since a stage read it.

DVC watches the files of the workspace. `ingest.source` and `featurize.weights` are names that may
mean a folder elsewhere, an archive, a drawn sample: their digests stand in the stages' reports.
"""

from __future__ import annotations

from pathlib import Path

from cracks.dataset.ingest.sources.source_list import open_sources
from cracks.system.hashing import digest_of_file
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.reports import read_json


def outside_input_changed(stage: str, params: Params, paths: Paths) -> bool:
    """Return whether the stage must run although DVC sees no change.

    Raises:
        SourceError, StorageError: the source has vanished or is damaged.
        SourceUnavailable, StorageUnavailable: it is on a server that does not respond.
    """
    # Read as plain JSON: DVC remakes a report that an earlier version of the stage has left.
    report = paths.report(stage)
    if not report.is_file():
        return False  # DVC sees the missing report by itself
    if stage == "ingest":
        with open_sources(params.ingest, paths) as source:
            return bool(source.digest() != read_json(report)["source_digest"])
    if stage == "featurize":
        recorded = read_json(report)["weights_sha256"]
        weights = paths.root / Path(params.featurize.weights).expanduser()
        return recorded is not None and weights.is_file() and digest_of_file(weights) != recorded
    return False
