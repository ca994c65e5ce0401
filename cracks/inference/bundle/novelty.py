"""Detect photographs that are unlike the training data, by the network's features."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cracks.errors import BundleError, DataError, one_line
from cracks.system.atomic_files import atomic_replace

Features = npt.NDArray[np.floating]
Matrix = npt.NDArray[np.float64]

#: Kinds of concrete that are described each by itself, at most, and the patches of the smallest.
KINDS, SMALLEST_KIND = 8, 75
#: Directions that all kinds share, and those of them along which a kind has a spread of its own.
SHARED, OWN = 128, 64
#: Coordinates by which kinds are found; the finer ones are mostly noise.
COARSE = 64

#: Confidence that the limit holds on patches of unseen photographs.
CONFIDENCE: Final = 0.99
RESAMPLES = 1000

#: Further decimals change with the number of threads that add up.
DECIMALS = 5
#: Rows that are held as float64 at a time.
CHUNK = 2048

#: What numpy and zipfile raise of a damaged archive.
DAMAGES = (
    *(OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, SyntaxError),
)


@dataclass(frozen=True, eq=False)
class Novelty:
    """A description of the training data's features, and the distance from which on all is novel.

    The features are brought to length 1, and described as `kinds` Gaussian clouds that are wide
    along some directions and equally narrow along all others: a mixture of probabilistic principal
    component analysers. The distance is the Mahalanobis distance to the nearest cloud.

    Source: Tipping, Bishop, "Mixtures of Probabilistic Principal Component Analysers", Neural
    Computation 11 (1999), section 3; Lee et al., "A Simple Unified Framework for Detecting
    Out-of-Distribution Samples", NeurIPS 2018 (the distance to the nearest of several Gaussians);
    the part outside the principal directions alone is the residual of Wang et al., "ViM", CVPR
    2022, equation 4.
    """

    # All are float64 to compute with, of values that float32 holds: so they are stored.
    mean: Matrix  # (d,)
    shared: Matrix  # (d, s): orthonormal columns
    centres: Matrix  # (kinds, s)
    own: Matrix  # (kinds, s, o): orthonormal columns
    variances: Matrix  # (kinds, o): along the columns of `own`
    narrow: Matrix  # (kinds,): the variance along every other direction
    limit: float = np.inf

    def distance(self, features: Features) -> npt.NDArray[np.float64]:
        """Return how far each patch lies from the training data; larger is less like it.

        Args:
            features: float32 (n, d) of the network that the training data was described with.

        Returns:
            float64 (n,), 0 or more.

        Raises:
            DataError: the features have another width, or are not finite.
        """
        _require_features(features, len(self.mean))
        parts = [self._squared(part) for part in _chunks(features)]
        squared = np.concatenate([np.zeros(0), *parts])
        return np.asarray(np.round(np.sqrt(np.maximum(squared, 0)), DECIMALS), np.float64)

    def share(self, features: Features) -> npt.NDArray[np.float64]:
        """Return the distance as a share of the limit, (n,); raises as `distance` does."""
        # Features that are all the same, as of a network that learned nothing, have a limit of 0.
        return np.asarray(self.distance(features) / max(self.limit, 10.0**-DECIMALS))

    def flagged(self, features: Features) -> npt.NDArray[np.bool_]:
        """Return which patches lie beyond the limit, bool (n,); raises as `distance` does."""
        return np.asarray(self.share(features) > 1)

    def save(self, path: Path) -> None:
        """Write this to `path` (.npz), whole or not at all; equal contents give equal bytes."""
        # numpy dates every member 1980-01-01, so the time of writing is not in the file.
        arrays: dict[str, npt.NDArray[Any]] = {
            name: np.asarray(array, np.float64 if name == "limit" else np.float32)
            for name, array in zip(_names(), astuple(self), strict=True)
        }
        with atomic_replace(path) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def _squared(self, features: Features) -> Matrix:
        centred = _directions(features) - self.mean
        inside = centred @ self.shared
        outside = _squares(centred) - _squares(inside)
        nearest = np.full(len(features), np.inf)
        for centre, own, variances, narrow in zip(
            self.centres, self.own, self.variances, self.narrow, strict=True
        ):
            moved = inside - centre
            along = moved @ own
            across = np.maximum(outside + _squares(moved) - _squares(along), 0)
            np.minimum(nearest, (along**2 / variances).sum(axis=1) + across / narrow, out=nearest)
        return nearest


def fit_novelty(
    train_features: Features,
    validation_features: Features,
    validation_groups: Sequence[str] | None = None,
    max_flagged: float = 0.01,
    seed: int = 0,
) -> Novelty:
    """Return a description of the training data that separates novel patches from it.

    Args:
        train_features: float32 (n, d) of the patches that the network learned from.
        validation_features: float32 (m, d) of patches that it did not; they set the limit. With
            fewer than 1 / `max_flagged` of them the limit is the farthest one, without a guarantee.
        validation_groups: (m,) names; patches of one group are resampled together. None: each
            patch is a group.
        max_flagged: share of patches like these that may be flagged, in (0, 1).
        seed: of the kinds, and of the resampling behind the limit.

    Raises:
        DataError: there are too few patches, or a feature is not finite.
    """
    if len(train_features) < 2 or not len(validation_features):
        raise DataError(
            "Novelty needs 2 patches in train and 1 in validation at least, not "
            f"{len(train_features)} and {len(validation_features)}. Add photographs."
        )
    _require_features(train_features, train_features.shape[1])
    described = _described(train_features, seed)
    distances = described.distance(validation_features)
    limit = calibrated_limit(distances, validation_groups, max_flagged, seed)
    return replace(described, limit=limit)


def calibrated_limit(
    distances: Matrix, groups: Sequence[str] | None, max_flagged: float, seed: int = 0
) -> float:
    """Return the distance beyond which at most `max_flagged` of unseen patches alike lie.

    The conformal quantile keeps that share on the average over many calibrations only. So it is
    taken on many resamples of whole groups, and of these quantiles a high one.

    Args:
        distances: float64 (m,) of patches that were not used for fitting, m > 0.
        groups: (m,) names of what is resampled together, or None.
        max_flagged: share in (0, 1).
        seed: of the resampling.

    Source: Vovk, "Conditional validity of inductive conformal predictors", Machine Learning 92
    (2013), section 3; Davison, Hinkley, Bootstrap Methods and their Application (1997), section
    3.8 (resampling whole clusters).
    """
    order = np.argsort(-distances, kind="stable")
    farthest_first = distances[order]
    names = np.arange(len(distances)) if groups is None else np.asarray(groups)
    _, group = np.unique(names, return_inverse=True)
    rng, number = np.random.default_rng(seed), int(group.max()) + 1
    limits = [_conformal_quantile(farthest_first, np.ones(len(order)), max_flagged)]
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(0, number, number), minlength=number)
        limits.append(_conformal_quantile(farthest_first, times[group][order], max_flagged))
    return float(max(limits[0], np.quantile(limits[1:], CONFIDENCE, method="higher")))


def load_novelty(path: Path) -> Novelty:
    """Return what `Novelty.save` wrote.

    Raises:
        BundleError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in _names()}
        reason = _contradiction(arrays)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing. `dvc repro export` makes a whole bundle.") from None
    except DAMAGES as error:
        reason = one_line(error)
    if reason:
        raise BundleError(
            f"{path} is no description of novelty: {reason}. `dvc repro export` makes a whole one."
        )
    limit = float(arrays.pop("limit"))
    return _novelty_of(arrays, limit)


def _names() -> list[str]:
    return [field.name for field in fields(Novelty)]


def _contradiction(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return why arrays are no description that can be used, or nothing."""
    (width, shared), (kinds, _, own) = arrays["shared"].shape, arrays["own"].shape
    expected = {
        "mean": (width,),
        "shared": (width, shared),
        "centres": (kinds, shared),
        "own": (kinds, shared, own),
        "variances": (kinds, own),
        "narrow": (kinds,),
        "limit": (),
    }
    for name, array in arrays.items():
        if array.dtype.kind != "f" or array.shape != expected[name]:
            return f"{name} is {array.dtype} {array.shape}, not numbers {expected[name]}"
        if not np.isfinite(array).all():
            return f"{name} holds numbers that are not finite"
    if not kinds or min(arrays["variances"].min(initial=1), arrays["narrow"].min()) <= 0:
        return "there is no kind, or one without a spread"
    return ""


def _novelty_of(arrays: Mapping[str, npt.ArrayLike], limit: float) -> Novelty:
    """Return a description of values that float32 holds, so that it is stored without a loss."""
    exact = {
        name: np.asarray(np.asarray(array, np.float32), np.float64)
        for name, array in arrays.items()
    }
    return Novelty(**exact, limit=limit)


def _require_features(features: Features, width: int) -> None:
    if features.ndim != 2 or features.shape[1] != width:
        raise DataError(
            f"Novelty was fitted on features of width {width}, not of shape {features.shape}. "
            "Use the network of the same bundle."
        )
    # A sum is finite where all of it is, up to 1e38, and needs no array of its own.
    if not np.isfinite(features.sum(dtype=np.float64)):
        raise DataError(
            "The features hold numbers that are not finite, so nothing can be said about novelty. "
            "The network's weights are damaged."
        )


def _chunks(features: Features) -> Iterator[Features]:
    for start in range(0, len(features), CHUNK):
        yield features[start : start + CHUNK]


def _directions(features: Features) -> Matrix:
    """Return the features at length 1: how strong all are together says little of a material.

    Source: Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022,
    section 4 (why features are normalised).
    """
    rows = np.asarray(features, np.float64)
    return rows / np.maximum(np.sqrt(_squares(rows)), 1e-12)[:, None]


def _squares(rows: Matrix) -> Matrix:
    return np.asarray(np.einsum("ij,ij->i", rows, rows), np.float64)


def _conformal_quantile(
    farthest_first: Matrix, times: npt.NDArray[Any], max_flagged: float
) -> float:
    """Return the distance that one more patch exceeds with a chance of `max_flagged` at most.

    Args:
        farthest_first: float64 (m,), falling.
        times: (m,) how often each occurs.
        max_flagged: share in (0, 1).
    """
    allowed = np.floor((times.sum() + 1) * max_flagged + 1e-9) - 1
    beyond = np.cumsum(times)
    return float(farthest_first[np.searchsorted(beyond, max(allowed, 0), side="right")])


# --- fitting --------------------------------------------------------------------------------------


def _described(features: Features, seed: int) -> Novelty:
    from threadpoolctl import threadpool_limits

    # One thread, or the last digits would depend on the number of cores.
    with threadpool_limits(1):
        mean, shared = _shared_directions(features)
        inside = np.empty((len(features), shared.shape[1]))
        outside = np.empty(len(features))
        for start, part in zip(range(0, len(features), CHUNK), _chunks(features), strict=True):
            centred = _directions(part) - mean
            inside[start : start + CHUNK] = coordinates = centred @ shared
            outside[start : start + CHUNK] = _squares(centred) - _squares(coordinates)
        kind = _kinds(inside, seed)
        width = int(np.count_nonzero(np.any(features, axis=0)))
        clouds = [
            _cloud(inside[kind == number], outside[kind == number], width)
            for number in range(kind.max() + 1)
        ]
    parts = (mean, shared, *(np.stack(column) for column in zip(*clouds, strict=True)))
    return _novelty_of(dict(zip(_names(), parts, strict=False)), limit=np.inf)


def _shared_directions(features: Features) -> tuple[Matrix, Matrix]:
    """Return mean and leading principal directions of the normalised features."""
    width = features.shape[1]
    total, products = np.zeros(width), np.zeros((width, width))
    for part in _chunks(features):
        rows = _directions(part)
        total += rows.sum(axis=0)
        products += rows.T @ rows
    mean = total / len(features)
    directions = _spread(products / len(features) - np.outer(mean, mean))[1]
    return mean, directions[:, :SHARED]


def _spread(covariance: Matrix) -> tuple[Matrix, Matrix]:
    """Return variances, falling, and the directions (as columns) along which they lie."""
    variances, directions = np.linalg.eigh(covariance)
    return np.maximum(variances[::-1], 0), directions[:, ::-1]


def _kinds(inside: Matrix, seed: int) -> npt.NDArray[np.intp]:
    """Return the kind of each patch, found by k-means (Lloyd 1982), each of enough patches."""
    from sklearn.cluster import KMeans

    coarse = inside[:, :COARSE]
    number = _number_of_kinds(len(coarse))
    found = KMeans(number, n_init=1, random_state=seed).fit(coarse)
    patches = np.bincount(found.labels_, minlength=number)
    # A handful of odd patches would make a wide cloud, in which everything else fits, too.
    kept = patches >= min(SMALLEST_KIND, patches.max())
    squared = found.transform(coarse)[:, kept]
    return np.asarray(np.unique(squared.argmin(axis=1), return_inverse=True)[1], np.intp)


def _number_of_kinds(patches: int) -> int:
    """Return the largest power of two up to the root of the patches by 6, and up to `KINDS`.

    So 2 kinds from 144 patches on, 4 from 576, 8 from 2,304: with too few patches a kind
    would overfit. Odd numbers, measured, separate other materials less well.
    """
    return int(2 ** np.floor(np.log2(np.clip(np.sqrt(patches) / 6, 1, KINDS))))


def _cloud(inside: Matrix, outside: Matrix, width: int) -> tuple[Matrix, Matrix, Matrix, float]:
    """Return centre, own directions, variances along them, and the variance along all others."""
    patches, shared = inside.shape
    centre = inside.mean(axis=0)
    moved = inside - centre
    variances, directions = _spread(moved.T @ moved / patches)
    own = min(OWN, shared // 2)
    known = min(own, patches // 3)  # a direction needs some patches to be known by
    rest = float(variances[known:].sum() + outside.mean())
    narrow = max(rest / max(min(width, patches) - known, 1), float(variances.sum()) * 1e-6, 1e-12)
    variances[known:] = narrow
    return centre, directions[:, :own], np.maximum(variances[:own], narrow), narrow
