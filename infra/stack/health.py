"""Ask a service whether it can work; `python health.py URL` is the check in a container."""

from __future__ import annotations

import base64
import http.client
import os
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit

#: Seconds that an answer may take.
TIMEOUT = 5.0


def http_problem(url: str, status: int = 200, user: str = "", password: str = "") -> str | None:
    """Return why an address does not answer with this status; None if it does."""
    request = urllib.request.Request(url)
    if user:
        secret = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {secret}")
    # What a proxy says of an address of this machine is of no use.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            said = int(answer.status)
    except urllib.error.HTTPError as error:
        said = error.code
        error.close()
    except (OSError, http.client.HTTPException) as error:
        return reason_of(error)
    return None if said == status else f"{urlsplit(url).path} answers {said}"


def reason_of(error: Exception) -> str:
    """Return the last line that an error says."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    named = cause.strerror if isinstance(cause, OSError) else None
    lines = str(named or cause).strip().splitlines()
    return lines[-1].strip().lower() if lines else type(cause).__name__


def main(arguments: list[str]) -> int:
    """Return 0 if the address answers with 200.

    Args:
        arguments: the URL, and the names of the variables with user and password if it wants them.
    """
    url, *credentials = arguments
    problem = http_problem(url, 200, *(os.environ[name] for name in credentials))
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
