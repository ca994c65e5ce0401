"""Write the data card: where the data comes from, under which licence, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cracks.dataset.ingest.sources import mendeley
from cracks.system.templates import render
from cracks.workspace.stage_reports import IngestReport

KNOWN_SOURCES = {
    "mendeley": f"{mendeley.CITATION}. Version {mendeley.VERSION}, DOI {mendeley.DOI}, "
    f"licence {mendeley.LICENCE}. Cite also: {mendeley.PAPER}.",
    "sample": "Drawn by cracks/images/synthetic_concrete.py; free of any rights. It says nothing "
    "about real concrete.",
}
UNKNOWN = "photographs of your own; write their origin and licence into docs/cards.md."


def data_card(
    sources: Sequence[str],
    report: IngestReport,
    files: Sequence[str],
    sites: Sequence[Mapping[str, Any]],
) -> str:
    """Return the card as Markdown.

    Args:
        sources: as `ingest.source` names them.
        report: what ingest found.
        files: one line a downloaded file: its name, size and SHA-256.
        sites: rows of `cracks.dataset.photos.site_table.site_rows`.
    """
    card = render(
        "cracks/dataset/ingest/data_card.md.jinja",
        sources=[(source, KNOWN_SOURCES.get(source, UNKNOWN)) for source in sources],
        report=report,
        files=files,
        sites=sites,
    )
    return card + "\n"
