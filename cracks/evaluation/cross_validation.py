"""Score patches by logistic regressions that have not seen them: each fold by the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cracks.evaluation.metrics import Cracked, Scores

#: Inverse strength of the penalty. A model must not memorise wrong labels.
PENALTY: Final = 0.01
MAX_ITERATIONS: Final = 100

#: Further decimals change with the number of threads that add up.
DECIMALS: Final = 5

#: Of patches that belong to no fold: they are learned from in every one, and not scored.
NO_FOLD: Final = -1


def scores_by_fold(
    features: Sequence[npt.NDArray[np.float32]],
    cracked: Cracked,
    fold: npt.NDArray[np.intp],
    groups: Sequence[str] | npt.NDArray[np.str_],
    *,
    balanced: bool = False,
) -> Scores:
    """Score the patches of each fold by a model of all others, but those of a group with it.

    Args:
        features: float32 (…, channels), n rows in all; one copy of them is held meanwhile.
        cracked: bool (n,); among what is learned from, both labels occur for each fold.
        fold: int (n,), the number of each patch's fold, or `NO_FOLD`.
        groups: (n,) names of what shows the same.
        balanced: whether both labels count alike in sum.

    Returns:
        float64 (n,), probability of a crack in [0, 1]; 0.5 where there is no fold.

    Source: Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd ed. (2009),
    sections 4.4 (logistic regression) and 7.10 (cross-validation).
    """
    from sklearn.linear_model import LogisticRegression

    scores, standardised = np.full(len(cracked), 0.5), _standardised(features)
    for held_out in (fold == number for number in np.unique(fold[fold != NO_FOLD])):
        model = LogisticRegression(C=PENALTY, max_iter=MAX_ITERATIONS)
        learned = learned_without(held_out, groups)
        # A weight of zero leaves patches out as surely as a copy of the others, without the copy.
        weights = learned.astype(np.float32)
        if balanced:
            for label in (cracked, ~cracked):
                weights[label] *= learned.sum() / 2 / weights[label].sum()
        model.fit(standardised, cracked, sample_weight=weights)
        scores[held_out] = model.predict_proba(standardised[held_out])[:, 1]
    return np.round(scores, DECIMALS)


def learned_without(
    held_out: npt.NDArray[np.bool_], groups: Sequence[str] | npt.NDArray[np.str_]
) -> npt.NDArray[np.bool_]:
    """Return which patches share no group with one that is held out, bool (n,)."""
    names = np.asarray(groups)
    return ~np.isin(names, names[held_out])


def _standardised(features: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    rows: npt.NDArray[np.float32] = np.concatenate(features)
    rows -= rows.mean(axis=0)
    # Not `std`, nor scikit-learn's scaler: they hold one and two copies more.
    deviation = np.sqrt(np.einsum("ij,ij->j", rows, rows) / len(rows))
    deviation[deviation == 0] = 1
    rows /= deviation
    return rows
