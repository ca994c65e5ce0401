"""`python -m infra.stack.launch SERVICE`: what the supervisor runs, which becomes the service.

It ends what a killed predecessor has left, for that still holds the port, and waits for what the
service needs, so that no order of restarts matters. The secrets are read here: the supervisor's
configuration has none.
"""

from __future__ import annotations

import os
import sys
import time
from typing import NoReturn

from cracks.errors import CracksError
from infra.stack.leftovers import end_leftovers
from infra.stack.local import local_command, local_environment
from infra.stack.probing import problem_of
from infra.stack.services import Service, describe
from infra.stack.settings import CHECKOUT, open_stack

#: Seconds between two looks at what is needed, and between two lines that say so.
LOOK_INTERVAL, TELL_INTERVAL = 0.3, 10.0


def main(name: str) -> NoReturn:
    """Become the service, or exit with 1 and a line that says why that cannot be."""
    try:
        stack = open_stack()
        known = describe(stack).services
        service = known[name]
        end_leftovers(stack, name, flow_runs=False)
        for needed in service.needs:
            if needed in known:
                _wait_for(known[needed])
        command = local_command(service)
    except CracksError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    # PostgreSQL runs as another user than root, who may be able to enter no other folder.
    os.chdir(stack.folder if name == "postgresql" else CHECKOUT)
    os.execvpe(command[0], command, local_environment(stack, service))


def _wait_for(needed: Service) -> None:
    told = 0.0
    while problem := problem_of(needed):
        if time.monotonic() - told > TELL_INTERVAL:
            told = time.monotonic()
            print(f"waiting for {needed.name}: {problem}", file=sys.stderr, flush=True)
        time.sleep(LOOK_INTERVAL)


if __name__ == "__main__":
    main(sys.argv[1])
