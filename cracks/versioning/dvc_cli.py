"""`python -m cracks.versioning.dvc_cli …`: dvc whose uploads never wait long for leave to send.

An upload to S3 asks first whether its body is wanted (`Expect: 100-continue`). Some servers that
refuse before they have read anything wait for the body nevertheless: each of the two waits for the
other, and in aiohttp no time limit runs meanwhile. A client should send the body after a while
(RFC 9110, 10.1.1), as botocore's own does after a second; then it hears the refusal, and tries
again.
"""

from __future__ import annotations

import sys

from aiohttp import ClientRequest
from aiohttp.helpers import set_result
from dvc.cli import main

#: Seconds that an upload waits for leave.
LEAVE_TIMEOUT = 1.0

_ask_for_leave = ClientRequest.update_expect_continue


def _ask_for_leave_or_take_it(self: ClientRequest, expect: bool = False) -> None:
    _ask_for_leave(self, expect)
    if self._continue is not None:
        self.loop.call_later(LEAVE_TIMEOUT, set_result, self._continue, True)


if __name__ == "__main__":
    ClientRequest.update_expect_continue = _ask_for_leave_or_take_it  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
