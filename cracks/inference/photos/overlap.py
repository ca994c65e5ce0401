"""How much neighbouring patches of a photograph overlap; light to import, for the command line."""

from __future__ import annotations

from typing import Final

#: Share of a patch's side that it has in common with the next one, and the most that is useful.
OVERLAP: Final = 0.25
MAX_OVERLAP: Final = 0.75
