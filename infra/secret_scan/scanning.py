"""Look for secrets with detect-secrets (PyPI, of Yelp), which looks at each line of text files."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.secret_scan import service_key

#: What finds digests and weights too: they are as random as any secret.
OF_RANDOMNESS = frozenset({"Base64HighEntropyString", "HexHighEntropyString"})

#: What is no secret whatever it looks like: a reference, a placeholder, an identifier. Nothing here
#: asks a network whether a secret is valid.
FILTERS = (
    "allowlist.is_line_allowlisted",
    "heuristic.is_indirect_reference",
    "heuristic.is_likely_id_string",
    "heuristic.is_not_alphanumeric_string",
    "heuristic.is_potential_uuid",
    "heuristic.is_prefixed_with_dollar_sign",
    "heuristic.is_sequential_string",
    "heuristic.is_templated_secret",
)


@dataclass(frozen=True, order=True)
class Finding:
    """Something that looks like a secret; what it is itself is told to nobody."""

    file: str
    line: int
    kind: str
    #: The SHA-1 of the secret, by which detect-secrets knows it again.
    digest: str


def scan(files: Iterable[Path], *, made: bool = False) -> list[Finding]:
    """Return what looks like a secret in text files; other files are passed over.

    Args:
        files: which.
        made: whether the files are logs and artifacts, full of digests, rather than sources.
    """
    from detect_secrets.settings import transient_settings

    with transient_settings(_settings(made)):
        # What a child inherits by the fork need not be set again there.
        pool = multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0)))
        with pool:
            found = pool.imap_unordered(_scan_file, map(str, files), chunksize=4)
            return sorted(finding for findings in found for finding in findings)


def files_below(places: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that are named, and those below the folders that are."""
    for place in places:
        if not place.is_dir():
            yield place
        for folder, _, names in os.walk(place):
            yield from (Path(folder, name) for name in names if Path(folder, name).is_file())


def _settings(made: bool) -> dict[str, Any]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    known = {plugin.__name__ for plugin in get_mapping_from_secret_type_to_class().values()}
    get_mapping_from_secret_type_to_class.cache_clear()  # it is to find our own one too
    plugins = sorted(known - OF_RANDOMNESS - {"IPPublicDetector"} if made else known)
    own = {"name": "ServiceKeyDetector", "path": Path(service_key.__file__).as_uri()}
    return {
        "plugins_used": [*({"name": name} for name in plugins), own],
        "filters_used": [{"path": f"detect_secrets.filters.{name}"} for name in FILTERS],
    }


def _scan_file(file: str) -> list[Finding]:
    from detect_secrets.core.scan import scan_file

    return [Finding(file, one.line_number, one.type, one.secret_hash) for one in scan_file(file)]
