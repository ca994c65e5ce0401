"""`python -m infra.stack up|down|status|secrets`: the stack on this machine.

It exits with 0 when all is well, 1 when something is not, 2 for wrong usage, 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from cracks.errors import CracksError
from infra.stack.settings import Stack, keep_secrets, open_stack

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; return the exit code."""
    given = _arguments(arguments)
    signal.signal(signal.SIGTERM, _as_interrupt)
    signal.signal(signal.SIGHUP, _as_interrupt)
    try:
        return _do(given, open_stack())
    except CracksError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED


def _do(given: argparse.Namespace, stack: Stack) -> int:
    # What a command does not need is not imported: `status` is called often.
    if given.what == "up":
        from infra.stack.up import up

        up(stack, given.only)
    elif given.what == "down":
        from infra.stack.up import down

        down(stack)
    elif given.what == "status":
        from infra.stack.status import show, status

        lines = status(stack)
        show(lines, as_json=given.json)
        return 0 if all(line.healthy for line in lines) else 1
    else:
        stack.folder.mkdir(parents=True, exist_ok=True)
        keep_secrets(stack)
        print(stack.secrets)
    return 0


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.stack", description="Run the stack.")
    commands = parser.add_subparsers(dest="what", required=True)
    started = commands.add_parser("up", help="start what does not run")
    started.add_argument("--only", nargs="*", default=(), metavar="SERVICE", help="and its needs")
    commands.add_parser("down", help="end everything; the data stays")
    shown = commands.add_parser("status", help="show each service")
    shown.add_argument("--json", action="store_true", help="as JSON")
    commands.add_parser("secrets", help="make the secrets, and name their file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
