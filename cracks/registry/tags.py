"""The tags that runs and model versions carry in MLflow; their names are stored, so they stay."""

from __future__ import annotations

from cracks.versioning.dvc_stages import output_digest
from cracks.versioning.git_state import code_version
from cracks.workspace.paths import Paths

#: Of the checkout that a model was made in.
COMMIT_TAG, DIRTY_TAG = "git.commit", "git.dirty"
LOCK_TAG, DATA_TAG = "dvc.lock.sha256", "data.digest"

#: Of the files that belong to it.
BUNDLE_TAG = "bundle.digest"
KERAS_TAG = "keras.sha256"
PATCHES_TAG = "patches.sha256"

#: How it was judged, and what that leads to.
VERDICT_TAG, REASON_TAG, ACTION_TAG = "verdict", "verdict.reason", "verdict.action"

#: Why the training was started, where it was not by hand or by the clock.
CAUSE_TAG = "training.cause"

#: Of a version: the hash of the ledger entry that last made it champion.
LEDGER_TAG = "ledger.entry"

#: Of a run: a digest of what its verdict was reached from, and the comparison as JSON.
JUDGED_TAG, COMPARISON_TAG = "verdict.inputs", "verdict.comparison"

#: Of a version: the run that trained it, who registered it, and when.
RUN_TAG, WHO_TAG, WHEN_TAG = "run.id", "registered.by", "registered.at"


def checkout_tags(paths: Paths) -> dict[str, str]:
    """Return the tags that lead back to the code and the data of a workspace."""
    code = code_version(paths.root)
    return {
        COMMIT_TAG: code.commit,
        DIRTY_TAG: str(code.dirty).lower(),
        DATA_TAG: output_digest(paths, "ingest", "data/images"),
    }
