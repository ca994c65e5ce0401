"""`python -m cracks.versioning.dvc_cli …`: dvc with a time limit for `100 Continue`.

An upload to S3 asks first whether its body is wanted (`Expect: 100-continue`). Some servers that
refuse before they have read anything wait for the body nevertheless: client and server wait for
each other, and aiohttp has no timeout for this. A client should send the body after a while
(RFC 9110, 10.1.1), as botocore does after a second; then it gets the error response and retries.
"""

from __future__ import annotations

import sys

from aiohttp import ClientRequest
from aiohttp.helpers import set_result
from dvc.cli import main

#: Seconds that an upload waits for the response `100 Continue`.
CONTINUE_TIMEOUT = 1.0

_update_expect_continue = ClientRequest.update_expect_continue


def _continue_after_timeout(self: ClientRequest, expect: bool = False) -> None:
    _update_expect_continue(self, expect)
    if self._continue is not None:
        self.loop.call_later(CONTINUE_TIMEOUT, set_result, self._continue, True)


if __name__ == "__main__":
    ClientRequest.update_expect_continue = _continue_after_timeout  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
