"""The response for patches, as OpenAPI describes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, Field

from cracks.monitoring.prediction_log.schema import RecordedPrediction

#: An id in the description of the interface.
EXAMPLE_ID = "v3-1f0a2b3c4d5e-9e107d9d372bb682-20261121T161422417Z"

Label = Annotated[str, Field(examples=["crack"])]
Score = Annotated[float, Field(description="probability of a crack", examples=[0.987])]
Threshold = Annotated[
    float, Field(description="a score at or above it means `crack`", examples=[0.52])
]
Novelty = Annotated[
    float | None,
    Field(description="distance from the training data; above 1 it is unusual", examples=[0.4]),
]
Novel = Annotated[
    bool | None,
    Field(
        description="whether the image is unlike the training data: do not trust the label",
        examples=[False],
    ),
]
GivenId = Annotated[
    str,
    Field(
        description="what `cracks trace` follows from this prediction back to the training data",
        examples=[EXAMPLE_ID],
    ),
]
ModelVersion = Annotated[str, Field(examples=["3"])]
RunId = Annotated[
    str,
    Field(
        description="the MLflow run that trained the model",
        examples=["5c0b6f1f2a8c4a7d8f0d6b8e3a1c9d42"],
    ),
]


class Prediction(BaseModel):
    """The prediction for one image."""

    file: Annotated[str, Field(examples=["column-07.jpg"])]
    label: Label
    score: Score
    threshold: Threshold
    novelty: Novelty
    novel: Novel
    prediction_id: GivenId
    model_version: ModelVersion
    run_id: RunId


def predictions(rows: Iterable[RecordedPrediction], names: Iterable[str]) -> list[Prediction]:
    """Return the predictions of a request under the names of its images, in their order."""
    recorded = Prediction.model_fields.keys() - {"file"}
    return [
        Prediction(file=name, **{field: getattr(row, field) for field in recorded})
        for name, row in zip(names, rows, strict=True)
    ]
