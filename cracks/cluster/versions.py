"""Which versions a process computes with, and how those of two processes differ.

Only the same code and libraries give the same bytes; so this is compared first.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cracks

#: What decides the bytes of a result, and how it is sent.
PACKAGES = (
    "concrete-crack-mlops",
    "dask",
    "distributed",
    "numpy",
    "opencv-python-headless",
    "openvino",
    "pillow",
    "pyarrow",
)

#: Digits of the digest of this project's code.
DIGITS = 12

Versions = Mapping[str, str]


@cache
def own_versions() -> Versions:
    """Return the versions of Python, of `PACKAGES` (`none` if absent), and of the code itself."""
    own = {"python": ".".join(platform.python_version_tuple()[:2])}
    own |= {package: _version(package) for package in PACKAGES}
    return own | {"the code of cracks": _digest_of_code()}


def library_versions(versions: Versions) -> Versions:
    """Return the versions that stored results depend on; without this project's code."""
    return {name: value for name, value in versions.items() if not name.startswith("the code")}


def differences(theirs: Versions, ours: Versions) -> list[str]:
    """Return, by name, what is not the same: `numpy 2.3.0 instead of 2.4.6`."""
    return [
        f"{name} {theirs.get(name, 'none')} instead of {value}"
        for name, value in ours.items()
        if theirs.get(name, "none") != value
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _digest_of_code() -> str:
    folder = Path(cracks.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:DIGITS]
