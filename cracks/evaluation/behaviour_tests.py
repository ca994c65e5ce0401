"""Test how a classifier behaves: what must not change its prediction, what must, what it endures.

Source: Ribeiro, Wu, Guestrin and Singh, "Beyond Accuracy: Behavioral Testing of NLP Models with
CheckList" (ACL 2020), section 2: invariance and directional expectation tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cracks.evaluation.intervals import rate_with_interval
from cracks.evaluation.metrics import Cracked, Scored, Scores
from cracks.images.decode import Pixels
from cracks.images.perturbations import (
    CORRUPTIONS,
    DRAWN_CRACK,
    INVARIANCES,
    UNDISTURBED,
    perturbed,
)
from cracks.system.parallel import prefetch_map

#: From uint8 RGB batches (b, size, size, 3) to the scores of all their patches, float64 (n,).
Predict = Callable[[Iterable[Pixels]], Scores]

#: What the rate of a row is the share of; these names are stored.
SAME_PREDICTION: Final = "same answer"
RAISED_SCORE: Final = "raised score"
CALLED_CRACK: Final = "called crack"
ACCURACY: Final = "accuracy"
CRACK_RECALL: Final = "crack recall"


def behaviour_sample(
    cracked: Cracked, groups: Sequence[str], count: int, seed: int
) -> npt.NDArray[np.intp]:
    """Return the positions of `count` patches, half of them cracked, from as many groups as can be.

    A second patch of a group is taken only when every group of that label has given one. Of a
    label with fewer than `count // 2` patches all are taken.

    Args:
        cracked: bool (n,).
        groups: (n,) names of what shows the same photograph.
        count: how many patches.
        seed: draws them.

    Returns:
        int (at most count,), ascending.
    """
    import pandas as pd

    names = np.asarray(groups)
    rng = np.random.default_rng(seed)
    picked = []
    for label in (False, True):
        members = rng.permutation(np.flatnonzero(cracked == label))
        turn = pd.Series(members).groupby(names[members]).cumcount().to_numpy()
        picked.append(members[np.argsort(turn, kind="stable")][: count // 2])
    return np.sort(np.concatenate(picked))


def scores_of_variants(
    patches: Iterable[Pixels],
    ids: Sequence[str],
    cracked: Cracked,
    predict: Predict,
    batch_size: int,
) -> dict[str, Scores]:
    """Return the scores of each patch in every variant, by the name of the variant.

    Args:
        patches: (n,) pictures, each uint8 RGB (size, size, 3); read once, as they are needed.
        ids: (n,) names of the patches, which decide on what is drawn by chance.
        cracked: bool (n,), the true labels.
        predict: called once, with the batches of all variants of all patches.
        batch_size: variants in a batch at most.

    Returns:
        float64 (n,) for each variant; NaN where a cracked patch has no `DRAWN_CRACK`.
    """
    always = (UNDISTURBED, *INVARIANCES, *CORRUPTIONS)
    wanted = [always if is_crack else (*always, DRAWN_CRACK) for is_crack in cracked]

    def variants(one: tuple[Pixels, str, tuple[str, ...]]) -> list[Pixels]:
        pixels, id_, names = one
        return [perturbed(pixels, name, id_) for name in names]

    made = prefetch_map(variants, zip(patches, ids, wanted, strict=True))
    given = iter(predict(batched(chain.from_iterable(made), batch_size)).tolist())
    scores = {name: np.full(len(ids), np.nan) for name in (*always, DRAWN_CRACK)}
    for position, names in enumerate(wanted):
        for name in names:
            scores[name][position] = next(given)
    return scores


def rows_of_scores(scores: Mapping[str, Scores], undisturbed: Scored) -> list[dict[str, Any]]:
    """Return the rates of every test, each with the interval that `rate_with_interval` gives.

    Args:
        scores: what `scores_of_variants` gave, float64 (n,) each.
        undisturbed: the patches as they are.

    Returns:
        A row for each test and kind: test (the variant), kind, patches, rate, low, high. Kinds are
        SAME_PREDICTION (share of the patches that keep their label), RAISED_SCORE and
        CALLED_CRACK (shares of the clean patches on which a crack was drawn), ACCURACY and
        CRACK_RECALL.
    """
    cracked, groups = undisturbed.cracked, np.asarray(undisturbed.groups)
    called = {name: values >= undisturbed.threshold for name, values in scores.items()}
    everywhere = np.ones(len(cracked), np.bool_)

    def row(test: str, kind: str, hits: Cracked, among: Cracked) -> dict[str, Any]:
        rate = rate_with_interval(hits[among], groups[among].tolist())
        return {"test": test, "kind": kind, **rate}

    raised = scores[DRAWN_CRACK] > undisturbed.scores
    tests = [
        *((n, SAME_PREDICTION, called[n] == undisturbed.called, everywhere) for n in INVARIANCES),
        (DRAWN_CRACK, RAISED_SCORE, raised, ~cracked),
        (DRAWN_CRACK, CALLED_CRACK, called[DRAWN_CRACK], ~cracked),
        *((n, ACCURACY, called[n] == cracked, everywhere) for n in (UNDISTURBED, *CORRUPTIONS)),
        *((n, CRACK_RECALL, called[n], cracked) for n in (UNDISTURBED, *CORRUPTIONS)),
    ]
    return [row(*test) for test in tests if test[-1].any()]


def batched(patches: Iterable[Pixels], batch_size: int) -> Iterator[Pixels]:
    """Yield uint8 (at most batch_size, size, size, 3) of patches of one size, one batch a time."""
    remaining = iter(patches)
    while batch := list(islice(remaining, batch_size)):
        yield np.stack(batch)
