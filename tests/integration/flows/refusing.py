"""A workspace whose first stage refuses."""

from __future__ import annotations

from pathlib import Path

from processes import CHECKOUT

REFUSAL = "ingest: there are no photographs. Take some."

PIPELINE = """
stages:
  ingest:
    cmd: python ingest.py
    outs: [data/images]
"""

REFUSE = f"""
import os, pathlib, sys
pathlib.Path(os.environ["CRACKS_MESSAGE_FILE"]).write_text("{REFUSAL}")
sys.exit(1)
"""


def refusing_workspace(root: Path, first: str = "") -> Path:
    """Make a DVC repository whose first stage runs the Python code `first`, then refuses."""
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (root / ".dvc/.gitignore").write_bytes((CHECKOUT / ".dvc/.gitignore").read_bytes())
    (root / "params.yaml").write_bytes((CHECKOUT / "params.yaml").read_bytes())
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "ingest.py").write_text(first + REFUSE)
    return root
