"""Train one combination of a sweep, on features that are computed once for all that share them."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from cracks.dataset.shards import shard_files
from cracks.errors import WorkspaceError
from cracks.system.hashing import digest_of_file, digest_of_value
from cracks.training.features.arrays import split_features
from cracks.training.features.compute import Compute, compute_here, update_features
from cracks.training.features.store import INDEX
from cracks.training.networks.devices import choose_devices
from cracks.training.networks.featurizer import store_featurizer
from cracks.training.networks.fit import Examples
from cracks.training.networks.learner import Learner, learning_key
from cracks.training.networks.reproducibility import make_reproducible
from cracks.training.sweep.search_space import SECTIONS, Choice, Space, assigned, flat
from cracks.training.sweep.study import History
from cracks.workspace.params import NAMED_WEIGHTS, Params
from cracks.workspace.paths import Paths
from cracks.workspace.tables import read_table


class Trainer:
    """Trains combinations as the stages would, with params.yaml and all outputs left alone."""

    def __init__(
        self, params: Params, paths: Paths, cache: Path, compute: Compute = compute_here
    ) -> None:
        """Take a workspace whose features are those of params.yaml.

        The features of other featurizers are computed by `compute` into the folder `cache`.
        """
        # It takes the many networks of a sweep for one that is built again by mistake.
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        self._params, self._paths, self._cache = params, paths, cache
        self._compute_features = compute
        self._known, self._computed = _digest_of_data(paths), {paths.features}
        self._manifest, self._splits = read_table(paths.manifest), read_table(paths.splits)

    def identity(self, space: Space) -> dict[str, Any]:
        """Return what all trials of a sweep share, under the names for error messages."""
        varied = sorted(f"{key}={values}" for key, values in space.items())
        return {
            "data": digest_of_value([digest_of_file(file) for file in _tables(self._paths)]),
            "weights": digest_of_value(_weights(self._params, space)),
            "varied keys": varied,
            **_fixed(self._params, space),
        }

    def learn(self, values: Mapping[str, Any], checkpoints: Path) -> History:
        """Train on the split `train` and watch `validation`; return a row an epoch.

        The same values give the same rows as the stage `train`. The split `test` is not read.

        Args:
            values: of some keys of params.yaml.
            checkpoints: folder from which an interrupted training resumes.

        Raises:
            ParamsError: the values do not go together.
            WeightsError: the weights are not those of the architecture.
            WorkspaceError: the data has changed meanwhile.
        """
        params = assigned(self._params, values)
        devices = choose_devices(params.train.device)
        features = self._features(params)
        make_reproducible(params.train.seed)
        learned, watched = (
            split_features(features, self._manifest, self._splits, split)
            for split in ("train", "validation")
        )
        learner = Learner(
            params,
            devices,
            Examples.of(learned),
            Examples.of(watched),
            checkpoints,
            learning_key(params, self._paths.splits, features),
        )
        _, history = learner.learn()
        gc.collect()  # networks refer to themselves, and a sweep makes many
        return history

    def _features(self, params: Params) -> Path:
        """Return the folder of the features, after computing those that are missing."""
        if _digest_of_data(self._paths) != self._known:
            raise WorkspaceError(
                "The data or its features changed while the sweep ran: its trials could no "
                "longer be compared. Run it again with another --name."
            )
        key = featurizer_key(params)
        if key == featurizer_key(self._params):
            return self._paths.features
        place = self._cache / key[:16]
        if place not in self._computed:
            self._compute(params, place)
            self._computed.add(place)
        return place / "features"

    def _compute(self, params: Params, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        shards = shard_files(self._paths.images)
        with FileLock(place / "lock"):  # another process computes the same: wait, then read it
            if not (place / "featurizer").is_dir():
                store_featurizer(params, shards, place / "featurizer")
            folders = place / "featurizer", place / "features"
            update_features(params, shards, *folders, self._compute_features)


def featurizer_key(params: Params) -> str:
    """Return a digest of what decides the features of a patch."""
    section = params.featurize
    seen = [params.ingest.patch_size, section.image_size, section.precision]
    if params.mode != "probe":
        return digest_of_value(["pixels", *seen])  # whatever the network, it sees these
    return digest_of_value([section.architecture, _digest_of_weights(section.weights), *seen])


def _digest_of_data(paths: Paths) -> str:
    files = [*_tables(paths), paths.features / INDEX]
    return digest_of_value([digest_of_file(file) for file in files])


def _tables(paths: Paths) -> list[Path]:
    return [paths.manifest, paths.splits]


def _fixed(params: Params, space: Space) -> dict[str, Any]:
    """Return the parameters that decide a training and do not vary."""
    sections = flat(params.model_dump(include=set(SECTIONS)))
    return {key: value for key, value in sections.items() if key not in space}


def _weights(params: Params, space: Space) -> list[str]:
    varied = space.get("featurize.weights")
    tried = varied.values if isinstance(varied, Choice) else (params.featurize.weights,)
    return [_digest_of_weights(weights) for weights in tried]


def _digest_of_weights(weights: str) -> str:
    file = Path(weights).expanduser()
    return weights if weights in NAMED_WEIGHTS or not file.is_file() else digest_of_file(file)
