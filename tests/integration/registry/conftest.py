"""A small training, as a run of MLflow records it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cracks.registry.mlflow_store.records import TrainingRecord
from cracks.registry.tags import BUNDLE_TAG
from cracks.workspace.params import FeaturizeParams
from tests.integration.bundles import make_bundle

SIZE = 32


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> TrainingRecord:
    """A small training: a real network, and files as the stages leave them."""
    from cracks.training.networks.architectures import (
        build_backbone,
        build_classifier,
        build_head,
        build_resizing,
        build_whole,
    )
    from cracks.training.networks.keras_files import save_model
    from cracks.training.networks.reproducibility import make_reproducible

    make_reproducible(1)
    params = FeaturizeParams(
        architecture="cnn", weights="none", image_size=SIZE, precision="f32", batch_size=4
    )
    place = tmp_path_factory.mktemp("training")
    backbone = build_backbone(params)
    trainable = build_whole(backbone, build_head(backbone.output_shape[-1], 0.2))
    save_model(build_classifier(build_resizing(SIZE, SIZE), trainable), place / "classifier.keras")
    bundle = make_bundle(place / "bundle", size=SIZE)
    (place / "params.yaml").write_text("train:\n  epochs: 2\n")
    (place / "figures/evaluate").mkdir(parents=True)
    (place / "figures/evaluate/roc.png").write_bytes(b"a picture")
    return TrainingRecord(
        name="cnn-1f0a2b3c",
        params={"train.epochs": 2, "featurize.weights": "none", "a long one": "x" * 7000},
        history=[
            {"epoch": 1.0, "loss": 0.7, "val_loss": 0.6},
            {"epoch": 2.0, "loss": 0.4, "val_loss": 0.5},
        ],
        resources={
            "train": [
                {"seconds": 1.0, "cpu_percent": 180.0, "memory_mb": 512.5},
                {"seconds": 2.0, "cpu_percent": 90.0, "memory_mb": 600.0},
            ]
        },
        metrics={"test.accuracy": 0.9, "test.recall": np.float64(0.8), "threshold": 0.5},
        tags={"architecture": "cnn", BUNDLE_TAG: bundle.digest, "git.commit": "abc"},
        files=[place / "params.yaml"],
        figures=[place / "figures/evaluate/roc.png"],
        bundle=bundle.folder,
        model=place / "classifier.keras",
        example=np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8),
        manifest=pd.DataFrame({"id": ["a", "b"], "label": ["crack", "no crack"], "row": [0, 1]}),
        data_digest="0123456789abcdef0123456789abcdef.dir",
        data_source="sample",
    )
