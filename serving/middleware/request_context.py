"""What is noted of a request while it is served, for its log line and the metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from starlette.types import Scope

#: The key of the notes in the scope of a request.
REQUEST_CONTEXT = "cracks.noted"


@dataclass
class RequestContext:
    """Notes of one request; never what was in an image, and never a file's name or a key."""

    request_id: str = ""
    key: str = ""  # the name of the key that was given
    images: int = 0
    model_version: str = ""
    begin: float = field(default_factory=time.perf_counter)

    @property
    def milliseconds(self) -> float:
        """How long it has taken so far."""
        return round((time.perf_counter() - self.begin) * 1000, 3)


def request_context(scope: Scope) -> RequestContext:
    """Return the notes of a request."""
    notes: RequestContext = scope.setdefault(REQUEST_CONTEXT, RequestContext())
    return notes
