"""Find patches that are probably labelled wrongly: confident learning on out-of-sample scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cracks.dataset.labels import LABELS
from cracks.dataset.shards import rows_of
from cracks.evaluation.cross_validation import DECIMALS, scores_by_fold
from cracks.evaluation.metrics import Cracked, Scores
from cracks.training.features.arrays import SplitFeatures
from cracks.workspace.stage_reports import LabelErrors

#: Of what people look at, which does not tell what is suspected, and of what tells it.
COLUMNS: Final = ("id", "path", "label", "split", "caution")
KEY_COLUMNS: Final = ("id", "suspected", "score")

#: What is said beside patches that the model is measured on, or decided on.
CAUTION: Final = (
    "{split}: judge every row of this list. To relabel only where the model disagrees makes "
    "{split} agree with the model."
)

FOLDS: Final = 5


@dataclass(frozen=True)
class Examined:
    """Patches whose labels are in question, with scores that were made without those labels."""

    ids: list[str]
    splits: list[str]  # where each patch belongs
    cracked: Cracked  # (n,), the labels in question
    scores: Scores  # (n,), probability of a crack in [0, 1]
    how: str  # the scores came about

    def report(self, rows: Sequence[Mapping[str, Any]]) -> LabelErrors:
        """Return how many were examined, and how many suspects `rows_to_review` has."""
        return {"examined": len(self.ids), "how": self.how, "found": len(suspects(rows))}


def examine_held_out(parts: Mapping[str, SplitFeatures], scores: Mapping[str, Scores]) -> Examined:
    """Return the patches of the splits that a model was not trained on, with its scores."""
    return _examined(parts, np.concatenate([scores[split] for split in parts]), "held out")


def examine_out_of_fold(parts: Mapping[str, SplitFeatures], splits: pa.Table) -> Examined:
    """Return the patches of all the given splits with their `out_of_fold_scores`.

    The parts have features float32 (n, channels); the table `splits` knows the group of a patch.
    """
    group_of = dict(zip(splits["id"].to_pylist(), splits["group"].to_pylist(), strict=True))
    scores = out_of_fold_scores(
        [part.features.all() for part in parts.values()],
        np.concatenate([part.cracked for part in parts.values()]),
        [group_of[id_] for part in parts.values() for id_ in part.ids],
    )
    return _examined(parts, scores, "out of fold")


def out_of_fold_scores(
    features: Sequence[npt.NDArray[np.float32]], cracked: Cracked, groups: Sequence[str]
) -> Scores:
    """Score every patch by a logistic regression that has not seen the patch or its group.

    Args:
        features: float32 (…, channels), n rows in all; one copy of them is held meanwhile.
        cracked: bool (n,), the labels in question.
        groups: (n,) names; patches of one group are always scored together.

    Returns:
        float64 (n,), probability of a crack in [0, 1]. It is 0.5 throughout, which says nothing,
        where a label is the more frequent one in fewer than two groups.
    """
    fold = _folds(cracked, groups)
    if fold is None:
        return np.full(len(cracked), 0.5)
    return scores_by_fold(features, cracked, fold, groups)


def likely_label_errors(cracked: Cracked, scores: Scores) -> npt.NDArray[np.intp]:
    """Return the positions of the patches whose label is probably wrong, most suspicious first.

    How many a label gets wrong is estimated from the patches that are scored above the mean score
    of the other label; as many of those least sure of their own label are returned. It is an
    estimate: of a handful of errors one or another may stay unseen.

    Args:
        cracked: bool (n,), the labels in question.
        scores: float (n,), probability of a crack in [0, 1] from a model that never saw the label.

    Returns:
        int (found,), none where a label occurs less than twice: too few to confuse others with.

    Source: Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset
    Labels", Journal of Artificial Intelligence Research 70 (2021), "prune by noise rate".
    """
    if min(cracked.sum(), (~cracked).sum()) < 2:
        return np.array([], np.intp)
    from cleanlab.filter import find_label_issues  # type: ignore[import-untyped]

    suspected = find_label_issues(
        cracked.astype(np.intp), np.column_stack([1 - scores, scores]), n_jobs=1
    )
    found = np.flatnonzero(suspected)
    confidence = np.where(cracked, scores, 1 - scores)[found]
    return found[np.argsort(confidence, kind="stable")]


def rows_to_review(examined: Examined, manifest: pa.Table) -> list[dict[str, Any]]:
    """Return the patches whose labels a person should look at again, in the order of their ids.

    With each likely label error comes an unsuspected patch of the same label and split, while there
    are any. Who does not know which is which judges both alike, and sees how often labels are
    wrong where the model agrees.

    Returns:
        Rows of `COLUMNS` and `KEY_COLUMNS`; "score" is the probability of a crack, "suspected"
        "yes" or "no". Ids are digests, so their order tells nothing.
    """
    suspected = likely_label_errors(examined.cracked, examined.scores)
    chosen = np.concatenate([suspected, _unsuspected(examined, suspected)]).tolist()
    paths = rows_of([examined.ids[i] for i in chosen], manifest)["path"].to_pylist()
    is_suspected = set(suspected.tolist())
    rows = [
        {
            "id": examined.ids[i],
            "path": path,
            "label": LABELS[int(examined.cracked[i])],
            "split": (split := examined.splits[i]),
            "caution": "" if split == "train" else CAUTION.format(split=split),
            "suspected": "yes" if i in is_suspected else "no",
            "score": round(float(examined.scores[i]), DECIMALS),
        }
        for i, path in zip(chosen, paths, strict=True)
    ]
    return sorted(rows, key=lambda row: str(row["id"]))


def suspects(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the suspected ones of `rows_to_review`, most suspicious first."""
    found = [row for row in rows if row["suspected"] == "yes"]
    return sorted(found, key=lambda row: abs(row["score"] - LABELS.index(row["label"])))[::-1]


def _unsuspected(examined: Examined, suspected: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return as many other positions as `suspected`, of the same labels and splits."""
    random, splits = np.random.default_rng(0), np.asarray(examined.splits)
    is_suspected = np.isin(np.arange(len(splits)), suspected)
    drawn = [np.array([], np.intp)]
    for split in np.unique(splits[suspected]):
        for label in (False, True):
            alike = (splits == split) & (examined.cracked == label)
            others = random.permutation(np.flatnonzero(alike & ~is_suspected))
            drawn.append(others[: (alike & is_suspected).sum()])
    return np.concatenate(drawn)


def _examined(parts: Mapping[str, SplitFeatures], scores: Scores, how: str) -> Examined:
    ids = [id_ for part in parts.values() for id_ in part.ids]
    splits = [split for split, part in parts.items() for _ in part.ids]
    cracked = np.concatenate([part.cracked for part in parts.values()])
    return Examined(ids, splits, cracked, scores, how)


def _folds(cracked: Cracked, groups: Sequence[str]) -> npt.NDArray[np.intp] | None:
    """Return the fold of each patch, int (n,), or None where no two folds have both labels.

    Whole groups are assigned to folds, each label's in equal shares: scikit-learn's
    StratifiedGroupKFold does this too, but takes 11 s for 40,000 groups.
    """
    from sklearn.model_selection import StratifiedKFold

    names, group = np.unique(np.asarray(groups), return_inverse=True)
    mostly_cracked = np.bincount(group, cracked) > np.bincount(group) / 2
    fewest = min(mostly_cracked.sum(), (~mostly_cracked).sum())
    if fewest < 2:
        return None
    folds = StratifiedKFold(min(FOLDS, int(fewest)), shuffle=True, random_state=0)
    fold_of_group = np.empty(len(names), np.intp)
    for number, (_, assigned) in enumerate(folds.split(names, mostly_cracked)):
        fold_of_group[assigned] = number
    return fold_of_group[group]
