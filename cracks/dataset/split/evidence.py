"""Say what counts as one piece of evidence: a photograph, a site, or, unknown, a patch."""

from __future__ import annotations

from typing import Final

from cracks.workspace.params import Unit
from cracks.workspace.stage_reports import Counted

#: Share of the patches from which on their photographs count as known.
MOSTLY_KNOWN: Final = 0.99


def counted(unit: Unit, photographs_known: float) -> Counted:
    """Return what intervals and the gate count when they count groups.

    Args:
        unit: what stays on one side of the split as a whole.
        photographs_known: share of the patches whose photograph is known.
    """
    if unit == "site":
        return "sites"
    return "photographs" if photographs_known >= MOSTLY_KNOWN else "patches"
