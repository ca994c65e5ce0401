"""The report of an inspection as a page that opens offline: pictures lie beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cracks.dataset.labels import CRACK
from cracks.system.templates import render

#: Photographs that are shown with pictures; the table names all of them.
SHOWN = 200


def report_page(
    inspected: Sequence[Mapping[str, Any]], unreadable: Sequence[Mapping[str, str]], version: str
) -> str:
    """Return the page over inspected photographs, those with most cracks first.

    Args:
        inspected: what inspection.json says of each, with `overlay`, `tiles_csv`,
            `inspection_json` and the `picture` of each of its `worst_tiles`, relative to the page.
        unreadable: `file` and `reason` of the photographs that could not be inspected.
        version: of the model.
    """
    page = render(
        "cracks/inference/photos/report_page.html.jinja",
        inspected=sorted(inspected, key=lambda one: (-one["crack_share"], -one["score"])),
        unreadable=unreadable,
        version=version,
        crack=CRACK,
        shown=SHOWN,
    )
    return page + "\n"
