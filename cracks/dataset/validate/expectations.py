"""What the data must look like, checked with Great Expectations; the suites are in code."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cracks.dataset.labels import LABELS, SPLITS
from cracks.dataset.split.evidence import MOSTLY_KNOWN
from cracks.dataset.validate.checked_tables import SEEN
from cracks.dataset.validate.drift import WATCHED
from cracks.workspace.params import ValidateParams
from cracks.workspace.stage_reports import ExpectationRow, ValidateReport

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuite
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.datasource.fluent import PandasDatasource
    from great_expectations.expectations.expectation import Expectation

#: What a broken expectation does: a critical one, which is the default, stops the run; a warning
#: is shown.
CRITICAL, WARNING = "critical", "warning"

#: The columns that tell a person, and the contact sheets, which row it is.
SHOWN = ("id", "path", "label", "reason")

#: The columns of the table of patches, in their order.
PATCH_COLUMNS = [
    *SEEN,
    *("split", "labels_of_content", "labels_of_picture"),
    *("splits_of_picture", "splits_of_group", "splits_of_photo"),
]

_LEFT_OUT = (
    "They would tie groups that are on different sides. Say in photos.csv which photograph each "
    "patch was cut from, or accept it: raise validate.max_left_out_share in params.yaml."
)

#: What it means that a split has cracks from few photographs.
_FEW_CRACKS = {
    "train": "The model sees too few kinds of cracks to know others.",
    "validation": "Threshold and calibration rest on few cracks.",
    "test": "Of 30 photographs without a mistake, crack recall is known to be above 0.88 at best "
    "if photographs fail as a whole, and the gate will ask a person.",
}

#: What to do about a broken expectation, where its name does not say it.
ADVICE = {
    "few cracks left out of the split": _LEFT_OUT,
    "few clean patches left out of the split": _LEFT_OUT,
    **{
        f"crack photographs in {split}": f"{meant} Photograph and label more cracks."
        for split, meant in _FEW_CRACKS.items()
    },
    "no photograph in two splits": "It was split before its photographs were known. Another "
    "`split.salt` in params.yaml splits it anew.",
    "photographs known": "Where they are not known, every interval and the gate count patches, and "
    "claim more than the data shows. Add photos.csv to the source, or a folder a photograph.",
}

#: Broken rows that are looked up for each expectation.
FOUND = 24

#: The share of patches that may break an expectation about brightness, or of other files.
TOLERATED = 0.01

Suite = dict[str, "Expectation"]


def suites(limits: ValidateParams, size: int) -> dict[str, Suite]:
    """Return the expectations by table and name.

    Args:
        limits: what the data must look like.
        size: width and height of a patch in pixels.
    """
    return {
        "patches": _patches_suite(limits, size),
        "splits": _splits_suite(limits),
        "files": _files_suite(limits),
        "sides": _sides_suite(limits),
        "drift": _drift_suite(limits, ""),
        "delivery": _drift_suite(limits, "new photographs: "),
    }


def _patches_suite(limits: ValidateParams, size: int) -> Suite:
    import great_expectations.expectations as gxe

    within, among = gxe.ExpectColumnValuesToBeBetween, gxe.ExpectColumnValuesToBeInSet
    # What is left out stands in no split; a file without a label is none.
    alone, one = {"min_value": 0, "max_value": 1}, {"min_value": 1, "max_value": 1}
    return {
        "schema": gxe.ExpectTableColumnsToMatchOrderedList(column_list=PATCH_COLUMNS),
        "enough patches": gxe.ExpectTableRowCountToBeBetween(min_value=limits.min_patches),
        "only known labels": among(column="label", value_set=list(LABELS)),
        "both labels present": gxe.ExpectColumnUniqueValueCountToBeBetween(
            column="label", min_value=len(LABELS)
        ),
        "identity of every patch": gxe.ExpectColumnValuesToMatchRegex(
            column="id", regex=r"^[0-9a-f]{64}$"
        ),
        "width in pixels": among(column="width", value_set=[size]),
        "height in pixels": among(column="height", value_set=[size]),
        "no copy under both labels": within(column="labels_of_content", **one),
        "no near-copy under both labels": within(
            column="labels_of_picture", **alone, severity=WARNING
        ),
        "every patch in a split": gxe.ExpectColumnValuesToNotBeNull(column="split"),
        "no picture in two splits": within(column="splits_of_picture", **alone),
        "no group in two splits": within(column="splits_of_group", **alone),
        "no photograph in two splits": within(column="splits_of_photo", **alone, severity=WARNING),
        "photographs known": gxe.ExpectColumnValuesToNotBeNull(
            column="photo", mostly=MOSTLY_KNOWN, severity=WARNING
        ),
        "neither black nor white": within(
            column="brightness",
            min_value=limits.min_brightness,
            max_value=limits.max_brightness,
            mostly=1 - TOLERATED,
        ),
        "not blank": within(column="contrast", min_value=limits.min_contrast, severity=WARNING),
        "not saturated": within(
            column="saturated", max_value=limits.max_saturated, severity=WARNING
        ),
        "colour photographs": among(column="mode", value_set=["RGB"], severity=WARNING),
        "camera held upright (EXIF)": among(column="orientation", value_set=[1], severity=WARNING),
        "not compressed beyond use": within(
            column="bytes_per_pixel", min_value=limits.min_bytes_per_pixel, severity=WARNING
        ),
    }


def _splits_suite(limits: ValidateParams) -> Suite:
    import great_expectations.expectations as gxe

    used = partial(
        gxe.ExpectColumnValuesToBeInSet, value_set=["yes"], mostly=1 - limits.max_left_out_share
    )
    parts = [f"{split}, {label}" for split in SPLITS for label in LABELS]
    return {
        "every split holds both labels": gxe.ExpectColumnDistinctValuesToContainSet(
            column="split_and_label", value_set=parts
        ),
        "few cracks left out of the split": used(column="crack_used"),
        "few clean patches left out of the split": used(column="clean_used"),
    }


def _sides_suite(limits: ValidateParams) -> Suite:
    import great_expectations.expectations as gxe

    return {
        f"crack photographs in {split}": gxe.ExpectColumnMinToBeBetween(
            column=split, min_value=limits.min_crack_photographs, severity=WARNING
        )
        for split in SPLITS
    }


def _files_suite(limits: ValidateParams) -> Suite:
    import great_expectations.expectations as gxe

    share = 1 - limits.max_quarantine_share
    among = gxe.ExpectColumnValuesToBeInSet
    return {
        "decodable": among(column="decoded", value_set=["yes"], mostly=share),
        "quarantine share": among(column="accepted", value_set=["yes"], mostly=share),
    }


def _drift_suite(limits: ValidateParams, of: str) -> Suite:
    import great_expectations.expectations as gxe

    within = partial(gxe.ExpectColumnValuesToBeBetween, min_value=0, severity=WARNING)
    watched = {
        f"{of}{name} as last accepted": within(column=name, max_value=limits.max_drift)
        for name in WATCHED
    }
    change = within(column="crack_share", max_value=limits.max_class_change)
    return watched | {f"{of}share of cracks as last accepted": change}


def run_validation(
    tables: Mapping[str, pd.DataFrame], limits: ValidateParams, size: int, docs: Path
) -> ValidateReport:
    """Run all suites and build the Data Docs in the folder `docs`.

    Args:
        tables: those of `cracks.dataset.validate.checked_tables`, by the names in `suites`.
        limits: what the data must look like.
        size: width and height of a patch in pixels.
        docs: an empty or missing folder.

    Returns:
        `success` (no critical expectation broken), and one row an expectation under
        `expectations`: name, severity, success, expected, observed, examples. Those of patches
        have the `id` too.
    """
    _import_library()
    context = _context(docs)
    source = context.data_sources.add_pandas("workspace")
    rows = [
        row
        for name, suite in suites(limits, size).items()
        for row in _checked(context, source, name, tables[name], suite)
    ]
    context.build_data_docs()
    broken = [row for row in rows if not row["success"] and row["severity"] == CRITICAL]
    return {"success": not broken, "patches": len(tables["patches"]), "expectations": rows}


def _import_library() -> None:
    """Import the library, its hundreds of thousands of objects never taken for garbage."""
    # Read by the library when it is imported.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    gc.disable()
    try:
        import great_expectations.expectations  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def _context(docs: Path) -> EphemeralDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
    )

    # By default each context leaves a folder of its own in the system's temporary folder.
    defaults = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    config = DataContextConfig(store_backend_defaults=defaults)
    context = gx.get_context(mode="ephemeral", project_config=config)
    context.variables.progress_bars = {"globally": False}
    context.add_data_docs_site("workspace", _site(docs))
    return context


def _checked(
    context: EphemeralDataContext,
    source: PandasDatasource,
    name: str,
    table: pd.DataFrame,
    expectations: Suite,
) -> list[ExpectationRow]:
    import great_expectations as gx

    batches = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(_named_suite(name, expectations))
    definition = gx.ValidationDefinition(name=name, data=batches, suite=suite)
    context.validation_definitions.add(definition)
    result_format = {
        "result_format": "SUMMARY",
        "unexpected_index_column_names": [column for column in SHOWN if column in table],
        "partial_unexpected_count": FOUND,
    }
    checkpoint = gx.Checkpoint(
        name=name, validation_definitions=[definition], result_format=result_format
    )
    result = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": table})
    (outcome,) = result.run_results.values()
    return [_row(single.to_json_dict()) for single in outcome.results]


def _named_suite(name: str, expectations: Suite) -> ExpectationSuite:
    import great_expectations as gx

    for title, expectation in expectations.items():
        expectation.meta = {"name": title}
        expectation.notes = f"**{title}**"
    return gx.ExpectationSuite(name=name, expectations=list(expectations.values()))


def _site(docs: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(docs),
        },
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }


def _row(single: dict[str, Any]) -> ExpectationRow:
    config, result = single["expectation_config"], single["result"]
    kwargs = {k: v for k, v in config["kwargs"].items() if k not in ("batch_id", "column_list")}
    return {
        "name": config["meta"]["name"],
        "severity": config["severity"],
        "success": single["success"],
        "expected": ", ".join(f"{key} {value}" for key, value in kwargs.items()),
        "observed": _observed(single),
        "advice": "" if single["success"] else ADVICE.get(config["meta"]["name"], ""),
        "examples": [
            {key: value for key, value in row.items() if value is not None}
            for row in result.get("partial_unexpected_index_list", [])
            if isinstance(row, dict)  # bare row numbers where a table has none of SHOWN
        ],
    }


def _observed(single: dict[str, Any]) -> str:
    result = single["result"]
    if single["exception_info"].get("raised_exception"):
        return f"could not be checked: {single['exception_info']['exception_message']}"
    if "observed_value" in result:
        value = result["observed_value"]
        if value is None:
            return "as expected" if single["success"] else "something is missing"
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if "unexpected_count" in result:
        return f"broken by {result['unexpected_count']} of {result['element_count']} rows"
    return ""
