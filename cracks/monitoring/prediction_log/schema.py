"""What is recorded of a prediction, and how it stands in a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cracks.monitoring.prediction_log.feature_projection import sketch_column


@dataclass(frozen=True, slots=True)
class RecordedPrediction:
    """One prediction: for a patch, or for a whole photograph.

    For a photograph, the score is that of the highest tile, the novelty the median of the tiles,
    the sketch their mean.
    """

    prediction_id: str
    time: datetime  # UTC
    kind: str  # predict or inspect
    image_sha256: str  # 64 hexadecimal digits, of the bytes as they were sent
    label: str
    score: float  # calibrated
    raw_score: float
    threshold: float
    model_version: str
    run_id: str
    milliseconds: float  # from the request to the response
    novelty: float | None = None
    novel: bool | None = None
    crack_share: float | None = None  # of the area of a photograph
    sketch: NDArray[np.float32] | None = None  # (64,)
    image: bytes | None = None  # only where the service was told to keep it


SCHEMA = pa.schema(
    [
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("time", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("image_sha256", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("raw_score", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("milliseconds", pa.float32(), nullable=False),
        pa.field("novelty", pa.float64()),
        pa.field("novel", pa.bool_()),
        pa.field("crack_share", pa.float64()),
        # No list of fixed size: pyarrow 25 writes one with a null, but cannot read it.
        pa.field("sketch", pa.list_(pa.float16())),
        pa.field("image", pa.binary()),
    ]
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: What a list of predictions shows; the rest is large.
SHORT_COLUMNS = tuple(name for name in SCHEMA.names if name not in ("sketch", "image"))


def as_table(predictions: Sequence[RecordedPrediction]) -> pa.Table:
    """Return one row a prediction.

    Raises:
        AttributeError, TypeError, ValueError: one of them has a value of another type, or lacks one
            (errors of pyarrow are among these).
    """
    columns = [
        sketch_column([prediction.sketch for prediction in predictions])
        if field.name == "sketch"
        else pa.array([getattr(prediction, field.name) for prediction in predictions], field.type)
        for field in SCHEMA
    ]
    table = pa.Table.from_arrays(columns, schema=SCHEMA)
    lacking = [one.name for one in SCHEMA if not one.nullable and table[one.name].null_count]
    if lacking:
        raise ValueError(f"a prediction has no {', '.join(lacking)}")
    return table


def is_sound(prediction: RecordedPrediction) -> bool:
    """Return whether a table can be made of it."""
    try:
        as_table([prediction])
    except (AttributeError, TypeError, ValueError):
        return False
    return True


def as_predictions(table: pa.Table) -> list[RecordedPrediction]:
    """Return the predictions in a table of these columns, or of the short ones."""
    place = table.column_names.index("time")
    plain = table.set_column(place, "time", table["time"].cast(pa.int64()))
    return [
        RecordedPrediction(**{name: _value(name, value) for name, value in row.items()})
        for row in plain.to_pylist()
    ]


def _value(name: str, value: Any) -> Any:
    if name == "sketch" and value is not None:
        return np.float32(value)
    return as_time(value) if name == "time" else value


def as_time(microseconds: int) -> datetime:
    """Return a time of the record; pyarrow itself wants a database of time zones for it."""
    return EPOCH + timedelta(microseconds=microseconds)


def time_at(table: pa.Table, row: int) -> datetime:
    """Return the time of the prediction in a row."""
    return as_time(table["time"].cast(pa.int64())[row].as_py())


def conformed(table: pa.Table, columns: Sequence[str] = SCHEMA.names) -> pa.Table:
    """Return some columns, with the types and in the order of the schema; what is lacking is null.

    An earlier release may have written fewer of them.
    """
    wanted = [field.with_nullable(True) for field in SCHEMA if field.name in columns]
    return pa.Table.from_arrays(
        [
            table[field.name].cast(field.type)
            if field.name in table.column_names
            else pa.nulls(len(table), field.type)
            for field in wanted
        ],
        schema=pa.schema(wanted),
    )
