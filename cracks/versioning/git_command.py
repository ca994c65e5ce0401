"""Run git, and tell from its output why it refuses."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

#: Variables of the environment: a token for https, and the user that it belongs to.
TOKEN, USER = "CRACKS_GIT_TOKEN", "CRACKS_GIT_USER"

#: In git's message about a server: credentials without access.
DENIED = (
    "Authentication failed",
    "could not read Username",
    "could not read Password",
    "ermission denied",
    "insufficient permission",
    "unable to create temporary",
    "hook declined",
    "protected branch",
    "not authorized",
    "access denied",
    "error: 401",
    "error: 403",
)

#: In git's message about a server: a transient error.
NOT_NOW = (
    "resolve host",
    "refused",
    "timed out",
    "Failed to connect",
    "Connection reset",
    "Empty reply",
    "hung up",
    "early EOF",
    "too slow",
    "error: 429",
    "error: 5",
)


def run_git(place: Path, *arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
    """Run git without prompts; the token, if there is one, is for the server of `url` alone."""
    return subprocess.run(
        ["git", *arguments],
        cwd=place,
        env={**os.environ, **_variables(url)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _variables(url: str) -> Mapping[str, str]:
    """Return how git is to behave: no prompts, and messages in English."""
    who = {"NAME": "cracks", "EMAIL": "cracks@localhost"}
    return {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        **{
            f"GIT_{role}_{key}": os.environ.get(f"GIT_{role}_{key}", value)
            for role in ("AUTHOR", "COMMITTER")
            for key, value in who.items()
        },
        **_settings(url),
    }


def _settings(url: str) -> Mapping[str, str]:
    """Return settings of git as variables, so that no command line and no file holds the token."""
    settings = {"http.lowSpeedLimit": "100", "http.lowSpeedTime": "60", "gc.auto": "0"}
    token, parts = os.environ.get(TOKEN), urlsplit(url)
    if token and parts.scheme in ("http", "https"):
        pair = f"{os.environ.get(USER) or 'x-access-token'}:{token}".encode()
        header = f"Authorization: Basic {base64.b64encode(pair).decode()}"
        settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = header
    given = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
    numbered = list(enumerate(settings.items(), given))
    return {
        "GIT_CONFIG_COUNT": str(given + len(settings)),
        **{f"GIT_CONFIG_KEY_{number}": key for number, (key, _) in numbered},
        **{f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in numbered},
    }


def says(done: subprocess.CompletedProcess[str], signs: tuple[str, ...]) -> bool:
    """Return whether git's output has one of the signs."""
    return any(sign in done.stderr + done.stdout for sign in signs)


def reason_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line of git's output that names the cause, without secrets."""
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    signs = (*DENIED, *NOT_NOW, "fatal: ", "error: ", "!")
    told = [line for sign in signs for line in lines if sign in line]
    reason = (told or lines or [f"exit code {done.returncode}"])[0]
    reason = re.sub(r"^(remote: )?(fatal|error): ", "", reason).rstrip(".")
    return re.sub(r"//[^/@\s]+@", "//", reason)
