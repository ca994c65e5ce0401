"""validate: check manifest, splits and quarantine list against the expectations."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from cracks.dataset.labels import CRACK
from cracks.dataset.manifest import numbers_of
from cracks.dataset.validate.checked_tables import (
    SEEN,
    files_table,
    patches_table,
    photographs_of,
    sides_table,
    splits_table,
)
from cracks.dataset.validate.contact_sheets import draw_sheets
from cracks.dataset.validate.delivery import accepted_table, measure_delivery, new_patches
from cracks.dataset.validate.drift import (
    NO_DRIFT,
    WATCHED,
    drift_from,
    is_accepted,
    next_profiles,
    profile_of,
    reference_for,
)
from cracks.dataset.validate.expectations import run_validation
from cracks.dataset.validate.results_page import expectations_table, overview_page
from cracks.errors import ValidationFailed
from cracks.system.atomic_files import atomic_replace, write_json, write_text
from cracks.system.console import print_table
from cracks.system.hashing import digest_of_file
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths
from cracks.workspace.reports import read_json
from cracks.workspace.stage_reports import ValidateReport
from cracks.workspace.tables import read_table, write_table


def validate(params: Params, paths: Paths) -> ValidateReport:
    """Check the data; warnings are reported, a broken critical expectation stops the run.

    Raises:
        ValidationFailed: a critical expectation is broken; carries the whole report.
    """
    manifest = read_table(paths.manifest, (*SEEN, "shard", "row"))
    patches, digest = manifest.select(SEEN).to_pandas(), digest_of_file(paths.manifest)
    watched, cracked = numbers_of(manifest, *WATCHED), manifest["label"].to_numpy() == CRACK
    profiles = read_json(paths.profile) if paths.profile.is_file() else {}
    drift = drift_from(reference_for(profiles, digest), watched, cracked)
    accepted = read_table(paths.accepted) if paths.accepted.is_file() else None
    ids = manifest["id"].to_pylist()
    new = new_patches(ids, accepted, same_data=is_accepted(profiles, digest))
    delivery = measure_delivery(patches, photographs_of(patches), new)
    with atomic_replace(paths.data_docs) as docs:
        tables = _tables(patches, paths) | {
            "drift": pd.DataFrame([drift]),
            "delivery": pd.DataFrame([delivery["drift"] if delivery else NO_DRIFT]),
        }
        report = run_validation(tables, params.validate_, params.ingest.patch_size, docs)
        _write_overview(report, manifest, paths, docs)
    if not report["success"]:
        raise _refusal(report, paths)
    write_table(accepted_table(ids, new), paths.accepted)
    today = profile_of(watched, cracked, digest)
    write_json(paths.profile, next_profiles(profiles, today))
    return {**report, "drift": drift, "delivery": delivery}


def _tables(patches: pd.DataFrame, paths: Paths) -> dict[str, pd.DataFrame]:
    splits = read_table(paths.splits).to_pandas()
    quarantine = pd.read_csv(paths.quarantine, dtype=str, keep_default_na=False)
    return {
        "patches": patches_table(patches, splits),
        "splits": splits_table(splits),
        "files": files_table(patches, quarantine),
        "sides": sides_table(splits),
    }


def _write_overview(report: ValidateReport, manifest: pa.Table, paths: Paths, docs: Path) -> None:
    sheets = draw_sheets(report["expectations"], manifest, paths.images, docs)
    pages = sorted(str(page.relative_to(docs)) for page in docs.glob("validations/**/*.html"))
    write_text(docs / "overview.html", overview_page(report["expectations"], pages, sheets))


def _refusal(report: ValidateReport, paths: Paths) -> ValidationFailed:
    rows = expectations_table(report["expectations"])
    print_table(rows, "The data is not what validate expects")
    broken = [row["name"] for row in report["expectations"] if not row["success"]]
    return ValidationFailed(
        f"validate: broken: {', '.join(broken)}. The table is in {paths.report('validate')}, "
        f"the Data Docs are {paths.data_docs / 'overview.html'}. "
        "Fix the sources, or the limits in params.yaml under validate.",
        report,
    )
