"""The command line `cracks`: one verb a file; refusals are one line and exit code 1."""

from __future__ import annotations

import sys

from cracks.errors import CracksError


def main() -> None:
    """Run `cracks`; exit with 0 when done, 1 for a refusal, 2 for wrong usage, 130 on Ctrl-C."""
    from commands.app import app

    try:
        app()
    except CracksError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted; nothing half-written was left", file=sys.stderr)
        sys.exit(130)
