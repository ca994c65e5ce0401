"""What the data must look like, checked with Great Expectations; the suites are in code."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cracks.labels import LABELS
from cracks.manifest import SCHEMA
from cracks.outputs import write_text
from cracks.pages import table_page
from cracks.params import IngestParams, ValidateParams
from cracks.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuite
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.datasource.fluent import PandasDatasource
    from great_expectations.expectations.expectation import Expectation

#: Example rows named for each broken expectation.
EXAMPLES = 5

#: What the expectations on the manifest see beyond its own columns.
DERIVED_COLUMNS = ("is_crack", "labels_of_content")


def expectations_on_manifest(
    validate: ValidateParams, ingest: IngestParams
) -> dict[str, Expectation]:
    """Return the expectations on the accepted patches by name."""
    import great_expectations.expectations as gxe

    size = ingest.patch_size
    return {
        "schema": gxe.ExpectTableColumnsToMatchOrderedList(
            column_list=[*SCHEMA.names, *DERIVED_COLUMNS], severity="critical"
        ),
        "enough patches": gxe.ExpectTableRowCountToBeBetween(
            min_value=validate.min_patches, severity="critical"
        ),
        "only known labels": gxe.ExpectColumnValuesToBeInSet(
            column="label", value_set=list(LABELS), severity="critical"
        ),
        "both labels present": gxe.ExpectColumnUniqueValueCountToBeBetween(
            column="label", min_value=len(LABELS), severity="critical"
        ),
        "labels in balance": gxe.ExpectColumnMeanToBeBetween(
            column="is_crack",
            min_value=validate.min_class_share,
            max_value=1 - validate.min_class_share,
            severity="critical",
        ),
        "identity of every patch": gxe.ExpectColumnValuesToMatchRegex(
            column="id", regex=r"^[0-9a-f]{64}$", severity="critical"
        ),
        "no copy under both labels": gxe.ExpectColumnValuesToBeBetween(
            column="labels_of_content", min_value=1, max_value=1, severity="critical"
        ),
        "width in pixels": gxe.ExpectColumnValuesToBeInSet(
            column="width", value_set=[size], severity="critical"
        ),
        "height in pixels": gxe.ExpectColumnValuesToBeInSet(
            column="height", value_set=[size], severity="critical"
        ),
        "colour photographs": gxe.ExpectColumnValuesToBeInSet(
            column="mode", value_set=["RGB"], severity="warning"
        ),
        "neither black nor white": gxe.ExpectColumnValuesToBeBetween(
            column="brightness",
            min_value=validate.min_brightness,
            max_value=validate.max_brightness,
            mostly=0.99,
            severity="critical",
        ),
        "not a single flat colour": gxe.ExpectColumnValuesToBeBetween(
            column="contrast", min_value=0, strict_min=True, severity="warning"
        ),
    }


def expectations_on_files(validate: ValidateParams) -> dict[str, Expectation]:
    """Return the expectations on all files of the source, the quarantined ones too, by name."""
    import great_expectations.expectations as gxe

    share = 1 - validate.max_quarantine_share
    return {
        "decodable": gxe.ExpectColumnValuesToBeInSet(
            column="decoded", value_set=["yes"], mostly=share, severity="critical"
        ),
        "quarantine share": gxe.ExpectColumnValuesToBeInSet(
            column="accepted", value_set=["yes"], mostly=share, severity="critical"
        ),
    }


def run_validation(
    manifest: pd.DataFrame,
    files: pd.DataFrame,
    validate: ValidateParams,
    ingest: IngestParams,
    docs: Path,
) -> Report:
    """Run both suites, build the Data Docs in the folder `docs`, and return the result.

    The library's own pages take their style from elsewhere and are bare without a network, so
    `overview.html` beside them says the same in one page that needs nothing.

    Args:
        manifest: the manifest's columns and `DERIVED_COLUMNS`.
        files: columns path, label, reason, decoded, accepted; one row a file of the source.
        validate: the limits.
        ingest: the expected size.
        docs: an empty or missing folder.

    Returns:
        `success` (no critical expectation broken), and one row an expectation under
        `expectations`: name, severity, success, expected, observed, examples.
    """
    context = _context(docs)
    source = context.data_sources.add_pandas("workspace")
    rows = [
        *_checked(
            context, source, "manifest", manifest, expectations_on_manifest(validate, ingest)
        ),
        *_checked(context, source, "files", files, expectations_on_files(validate)),
    ]
    context.build_data_docs()
    pages = sorted(docs.glob("validations/**/*.html"))
    overview = overview_page(rows, [str(page.relative_to(docs)) for page in pages])
    write_text(docs / "overview.html", overview)
    broken = [row for row in rows if not row["success"] and row["severity"] == "critical"]
    return {"success": not broken, "patches": len(manifest), "expectations": rows}


def _context(docs: Path) -> EphemeralDataContext:
    # Read by the library when it is imported.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
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
    frame: pd.DataFrame,
    expectations: dict[str, Expectation],
) -> list[dict[str, Any]]:
    import great_expectations as gx

    batches = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(_suite(name, expectations))
    definition = gx.ValidationDefinition(name=name, data=batches, suite=suite)
    context.validation_definitions.add(definition)
    shown = "reason" if "reason" in frame else "label"
    result_format = {
        "result_format": "SUMMARY",
        "unexpected_index_column_names": ["path", shown],
        "partial_unexpected_count": EXAMPLES,
    }
    checkpoint = gx.Checkpoint(
        name=name, validation_definitions=[definition], result_format=result_format
    )
    result = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame})
    (outcome,) = result.run_results.values()
    return [_row(single.to_json_dict()) for single in outcome.results]


def expectations_table(expectations: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the expectations with what was observed and example rows, the broken ones first."""
    rows = sorted(expectations, key=lambda row: bool(row["success"]))
    return [
        {
            "expectation": row["name"],
            "result": "ok" if row["success"] else f"broken ({row['severity']})",
            "observed": row["observed"],
            "examples": "; ".join(" · ".join(map(str, one.values())) for one in row["examples"]),
        }
        for row in rows
    ]


def overview_page(expectations: Sequence[Mapping[str, Any]], pages: Sequence[str]) -> str:
    """Return an HTML page of all expectations, with links to the library's own pages."""
    broken = sum(not row["success"] for row in expectations)
    said = f"{broken} of {len(expectations)} expectations are broken" if broken else "All hold"
    return table_page("The data's expectations", said, expectations_table(expectations), pages)


def _suite(name: str, expectations: dict[str, Expectation]) -> ExpectationSuite:
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


def _row(single: dict[str, Any]) -> dict[str, Any]:
    config, result = single["expectation_config"], single["result"]
    kwargs = {k: v for k, v in config["kwargs"].items() if k not in ("batch_id", "column_list")}
    return {
        "name": config["meta"]["name"],
        "severity": config["severity"],
        "success": single["success"],
        "expected": ", ".join(f"{key} {value}" for key, value in kwargs.items()),
        "observed": _observed(single),
        "examples": [
            {key: value for key, value in row.items() if value is not None}
            for row in result.get("partial_unexpected_index_list", [])
        ],
    }


def _observed(single: dict[str, Any]) -> str:
    result = single["result"]
    if single["exception_info"].get("raised_exception"):
        return f"could not be checked: {single['exception_info']['exception_message']}"
    if "observed_value" in result:
        value = result["observed_value"]
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if "unexpected_count" in result:
        return f"broken by {result['unexpected_count']} of {result['element_count']} rows"
    return ""
