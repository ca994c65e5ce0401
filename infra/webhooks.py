"""`make webhook`: let the MLflow server tell an address of every new version and promotion.

The secret that signs the deliveries is read from CRACKS_WEBHOOK_SECRET and never printed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from cracks.errors import CracksError, TrackingError
from cracks.registry.mlflow_store.connection import Connection
from cracks.registry.mlflow_store.webhooks import Webhooks
from cracks.system.console import print_table
from cracks.workspace.paths import Paths

CHECKOUT = Path(__file__).resolve().parent.parent
SECRET_VARIABLE = "CRACKS_WEBHOOK_SECRET"


def main() -> int:
    """Do what the arguments say; return 0 when it is done."""
    arguments = _arguments()
    try:
        secret = _secret() if arguments.url else ""
        webhooks = Webhooks(Connection(Paths(CHECKOUT)))
        if arguments.remove:
            webhooks.remove(arguments.remove)
            print(f"{arguments.remove} is told no more.")
        elif arguments.test:
            print(webhooks.test(arguments.test))
        elif arguments.url:
            made = webhooks.register(arguments.url, secret)
            events = ", ".join(made.events)
            print(f"{made.url} is told of {events}; the server begins within a minute.")
        else:
            _show(webhooks)
    except CracksError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _secret() -> str:
    secret = os.environ.get(SECRET_VARIABLE)
    if not secret:
        raise TrackingError(
            f"{SECRET_VARIABLE} is not set. Make one with `openssl rand -hex 32`, and give it to "
            "the receiver too."
        )
    return secret


def _show(webhooks: Webhooks) -> None:
    rows = [
        {"url": one.url, "events": ", ".join(one.events), "active": one.active}
        for one in webhooks.list()
    ]
    print_table(rows, "Webhooks", standard_output=True)
    if not rows:
        print("No webhook is registered.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Register, list, test and remove webhooks.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("url", nargs="?", help="to be told; without one, all webhooks are listed")
    what.add_argument("--test", metavar="URL", help="send an example of a promotion")
    what.add_argument("--remove", metavar="URL", help="tell it no more")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
