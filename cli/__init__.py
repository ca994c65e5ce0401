"""The command line `cracks`: one verb a file; refusals are one line and exit code 1."""

from __future__ import annotations

import sys

from cracks.errors import CracksError

#: What a shell reports of a process that Ctrl-C ended.
INTERRUPTED = 130


def main() -> None:
    """Run `cracks`; exit with 0 when done, 1 for a refusal, 2 for wrong usage, 130 on Ctrl-C."""
    from cli.app import app

    try:
        app()
    except CracksError as error:
        sys.exit(f"error: {error}")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("Interrupted. Nothing half-written was left; run it again.", file=sys.stderr)
        raise
