"""What pydantic found wrong, in one line."""

from __future__ import annotations

from pydantic import ValidationError

from cracks.errors import one_line


def reason_of(error: ValueError) -> str:
    """Return in one line why a JSON file is refused, with the key that is wrong."""
    if not isinstance(error, ValidationError):
        return one_line(error)
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    return f"{key}: {problem['msg']}" if key else problem["msg"]
