"""MLflow's Keras flavour, fixed: with an input example it writes into a folder that is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


class KerasFlavour:
    """What `mlflow.models.Model.log` calls of a flavour, as `mlflow.keras` in MLflow 3.17 does it.

    The logged model names `mlflow.keras` as its loader; nobody needs this class to use it.
    """

    @staticmethod
    def save_model(path: str, file: Path, **given: Any) -> None:
        """Write the model that a .keras file holds into the new folder `path`.

        Args:
            path: where to.
            file: kept byte for byte, so that its digest is known.
            given: what `mlflow.keras.save_model` takes, and what `Model.log` keeps for itself.
        """
        import mlflow

        from cracks.training.networks.startup import load_tensorflow

        load_tensorflow()
        from cracks.training.networks.keras_files import load_model

        given.pop("validate_serving_input", None)
        Path(path).mkdir(parents=True)
        mlflow.keras.save_model(load_model(file), path=path, **given)
        (written,) = Path(path).rglob("*.keras")
        shutil.copyfile(file, written)
