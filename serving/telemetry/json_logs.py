"""Log as JSON, one line an event, on standard error."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

#: The least level that each logger writes; all other loggers, and warnings, only what goes wrong.
LEVELS = {
    "serving": logging.INFO,
    "cracks": logging.INFO,
    "uvicorn": logging.WARNING,
    # What a client sends may be broken in a thousand ways; the response says how.
    "python_multipart": logging.ERROR,
}


def log_as_json() -> None:
    """Let everything that is logged be a JSON line on standard error.

    A line says when (`time`, UTC), how grave (`level`), what (`message`), and of a request what
    `serving.middleware.request_log` knows of it.
    """
    formatter = JsonFormatter(
        "{levelname}{message}",
        style="{",
        rename_fields={"levelname": "level", "exc_info": "traceback"},
        timestamp="time",
        json_ensure_ascii=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
