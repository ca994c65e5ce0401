"""How a key of the service looks; detect-secrets loads this file by its path."""

from __future__ import annotations

import re

from detect_secrets.plugins.base import RegexBasedDetector


class ServiceKeyDetector(RegexBasedDetector):
    """Finds what `cracks keys create` and `make secrets` make (serving/middleware/api_keys.py)."""

    secret_type = "Key of the service"
    denylist = (re.compile(r"\bcrk_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),)
