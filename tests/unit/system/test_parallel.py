"""Work ahead of its use, in threads: what nobody wants any more holds nobody up."""

from __future__ import annotations

import threading

from cracks.system.parallel import prefetch_map


def test_what_is_given_up_waits_for_no_thread() -> None:
    release, ended = threading.Event(), threading.Event()

    def compute(number: int) -> int:
        if number:
            release.wait(10)
            ended.set()
        return number

    results = prefetch_map(compute, range(5))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert not ended.is_set()
    release.set()
