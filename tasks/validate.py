"""validate: check the manifest and the quarantine list against the expectations."""

from __future__ import annotations

import pandas as pd

from cracks.errors import ValidationFailed
from cracks.expectations import expectations_table, run_validation
from cracks.labels import CRACK
from cracks.outputs import replacing
from cracks.params import Params
from cracks.paths import Paths
from cracks.reports import Report
from cracks.tables import read_table
from cracks.terminal import print_table


def validate(params: Params, paths: Paths) -> Report:
    """Check the data; warnings are reported, a broken critical expectation stops the run.

    Raises:
        ValidationFailed: a critical expectation is broken; carries the whole report.
    """
    manifest = read_table(paths.manifest).to_pandas()
    manifest["is_crack"] = (manifest["label"] == CRACK).astype(float)
    manifest["labels_of_content"] = manifest.groupby("id")["label"].transform("nunique")
    quarantine = pd.read_csv(paths.quarantine, dtype=str, keep_default_na=False)
    with replacing(paths.data_docs) as docs:
        report = run_validation(
            manifest, _all_files(manifest, quarantine), params.validate_, params.ingest, docs
        )
    if not report["success"]:
        print_table(
            expectations_table(report["expectations"]), "The data is not what validate expects"
        )
        broken = [row["name"] for row in report["expectations"] if not row["success"]]
        raise ValidationFailed(
            f"validate: broken: {', '.join(broken)}. The table is in {paths.report('validate')}, "
            f"the Data Docs are {paths.data_docs / 'overview.html'}. "
            "Mend the source, or the limits in params.yaml under validate.",
            report,
        )
    return report


def _all_files(manifest: pd.DataFrame, quarantine: pd.DataFrame) -> pd.DataFrame:
    accepted = manifest[["path", "label"]].assign(reason="", decoded="yes", accepted="yes")
    wrong_size = quarantine["reason"].str.startswith("wrong size")
    refused = quarantine.assign(decoded=wrong_size.map({True: "yes", False: "no"}), accepted="no")
    return pd.concat([accepted, refused], ignore_index=True)
