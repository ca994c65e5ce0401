"""What the service shows of its earlier champions, written when one is promoted.

    service/history.json   the last changes of the champion, newest first

The ledger itself stays in the tracking store, which serving never reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cracks.errors import ServiceError
from cracks.system.atomic_files import write_json

FILE = "history.json"

#: Changes that are listed; the ledger has all of them.
TOLD = 50


def write_history(service: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the last changes of the champion for the service.

    `rows` are the changes, the oldest first: version, from_version, kind, time, who, why.
    """
    write_json(service / FILE, [dict(row) for row in rows[: -TOLD - 1 : -1]])


def read_history(service: Path) -> list[dict[str, Any]]:
    """Return the last changes of the champion, newest first; none before the first promotion.

    Raises:
        ServiceError: history.json is damaged.
    """
    try:
        rows: list[dict[str, Any]] = json.loads((service / FILE).read_bytes())
    except FileNotFoundError:
        return []
    except ValueError:
        raise ServiceError(
            f"{service / FILE} is damaged. The next promotion rewrites it; `cracks models "
            "--history` reads the ledger itself."
        ) from None
    return rows
