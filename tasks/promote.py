"""promote: put a version into service, or the one before it back, as one transaction."""

from __future__ import annotations

import getpass

from cracks.errors import TrackingError
from cracks.registry.mlflow_store.tracking import Tracking
from cracks.registry.promotion import transaction
from cracks.registry.promotion.transaction import PromotionReport, PromotionRequest
from cracks.registry.tags import REASON_TAG
from cracks.workspace.params import Params
from cracks.workspace.paths import Paths


def promote(
    params: Params, paths: Paths, version: str, *, why: str = "", who: str = ""
) -> PromotionReport:
    """Put a version into service; doing it twice, or again after a crash, changes nothing more.

    Args:
        params: what it must show.
        paths: of the workspace whose service is meant.
        version: its number.
        why: for the ledger; empty takes the reason of the gate.
        who: for the ledger; empty takes the user of this process.

    Raises:
        TrackingError, PromotionFailed: as `cracks.registry.promotion.transaction.promote`.
    """
    tracking = Tracking(paths, params.register_.model_name)
    why = why or tracking.registry.version(version).tags.get(REASON_TAG, "no reason was given")
    request = PromotionRequest("promote", version, why, who or getpass.getuser())
    return transaction.promote(request, tracking, paths.service, params.promote)


def rollback(params: Params, paths: Paths, version: str | None, *, why: str) -> PromotionReport:
    """Put an earlier champion back into service, the last one before this if none is named.

    Raises:
        TrackingError: there is no champion before this, or no such version.
        PromotionFailed: as `cracks.registry.promotion.transaction.promote`.
    """
    tracking = Tracking(paths, params.register_.model_name)
    if version is None:
        previous = tracking.registry.previous()
        if previous is None:
            raise TrackingError(
                "There is no champion before this one to go back to. `cracks models` lists the "
                "versions; `cracks rollback --to VERSION` takes any of them."
            )
        version = previous.version
    request = PromotionRequest("rollback", version, why, getpass.getuser())
    return transaction.promote(request, tracking, paths.service, params.promote)
