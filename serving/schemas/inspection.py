"""The response for a whole photograph, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from serving.schemas.prediction import (
    GivenId,
    Label,
    ModelVersion,
    Novel,
    Novelty,
    RunId,
    Score,
    Threshold,
)

X = Annotated[int, Field(description="pixels from the left", examples=[1020])]
Y = Annotated[int, Field(description="pixels from the top", examples=[340])]
Side = Annotated[int, Field(description="pixels", examples=[227])]
Millimetres = Annotated[float | None, Field(description="if mm_per_px was given", examples=[113.5])]


class Tile(BaseModel):
    """The prediction for one patch of the photograph."""

    x: X
    y: Y
    width: Side
    height: Side
    score: Score
    label: Label
    novelty: Novelty
    novel: Novel


class Region(BaseModel):
    """Cracked places that touch each other, and the box around them."""

    x: X
    y: Y
    width: Side
    height: Side
    score: Annotated[float, Field(description="the highest of its tiles", examples=[0.987])]
    tiles: Annotated[int, Field(description="cracked tiles that it touches", examples=[4])]
    width_mm: Millimetres
    height_mm: Millimetres


class Inspected(BaseModel):
    """The prediction for a photograph."""

    file: Annotated[str, Field(examples=["pier-3.jpg"])]
    width: Annotated[int, Field(description="pixels of the upright photograph", examples=[4000])]
    height: Annotated[int, Field(examples=[3000])]
    tile_size: Annotated[int, Field(description="pixels of a tile's side", examples=[227])]
    overlap: Annotated[
        float,
        Field(description="share of its side that neighbours have in common", examples=[0.25]),
    ]
    label: Annotated[str, Field(description="`crack` if any tile is", examples=["crack"])]
    score: Annotated[float, Field(description="the highest of the tiles", examples=[0.987])]
    threshold: Threshold
    novel_share: Annotated[
        float | None,
        Field(description="share of tiles that are unlike the training data", examples=[0.02]),
    ]
    novel: Annotated[
        bool | None,
        Field(description="whether most tiles are: do not trust the prediction", examples=[False]),
    ]
    crack_share: Annotated[
        float, Field(description="share of the area that is cracked, 0 to 1", examples=[0.031])
    ]
    mm_per_px: Annotated[float | None, Field(description="as it was given", examples=[0.5])]
    crack_area_cm2: Annotated[
        float | None, Field(description="if mm_per_px was given", examples=[930.0])
    ]
    tiles: Annotated[list[Tile], Field(description="row by row")]
    regions: Annotated[list[Region], Field(description="the highest score first")]
    prediction_id: GivenId
    model_version: ModelVersion
    run_id: RunId
    seconds: Annotated[float, Field(description="that the inspection took", examples=[1.8])]
