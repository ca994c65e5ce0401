"""Tensors as the Open Inference Protocol writes them: as JSON, or as bytes after the JSON.

Source: KServe, "Open Inference Protocol (V2)", and its "Binary Tensor Data Extension".
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import HTTPException
from pydantic import BaseModel, Field, ValidationError

from cracks.images.decode import Pixels
from cracks.inference.handover.prediction_id import shown
from cracks.system.validation_errors import reason_of
from serving.schemas.json_body import as_patches

#: Says how many bytes of a body are JSON; tensors follow them.
LENGTH_HEADER = "Inference-Header-Content-Length"

#: The two inputs, of which a request has one: decoded pixels, or image files.
PIXELS, FILES = "image", "encoded"


class InputTensor(BaseModel):
    """A tensor of a request."""

    name: Annotated[str, Field(examples=[FILES])]
    datatype: Annotated[str, Field(description="UINT8 or BYTES", examples=["BYTES"])]
    shape: Annotated[list[int], Field(examples=[[1]])]
    parameters: dict[str, Any] = {}
    data: Annotated[
        Any, Field(description="numbers, or files as Base64", examples=[["/9j/4AAQSkZJRg…"]])
    ] = None


class WantedOutput(BaseModel):
    """An output that is asked for."""

    name: Annotated[str, Field(examples=["score"])]
    parameters: dict[str, Any] = {}


class InferenceRequest(BaseModel):
    """A request for predictions."""

    id: Annotated[str | None, Field(max_length=200)] = None
    parameters: dict[str, Any] = {}
    inputs: list[InputTensor]
    outputs: list[WantedOutput] | None = None


class OutputTensor(BaseModel):
    """A tensor of a response."""

    name: Annotated[str, Field(examples=["score"])]
    datatype: Annotated[str, Field(examples=["FP64"])]
    shape: Annotated[list[int], Field(examples=[[1]])]
    parameters: Annotated[dict[str, Any] | None, Field(examples=[{"binary_data_size": 8}])] = None
    data: Annotated[list[Any] | None, Field(examples=[[0.987]])] = None


class InferenceResponse(BaseModel):
    """The predictions, one element an image in each output."""

    model_name: Annotated[str, Field(examples=["crack-classifier"])]
    model_version: Annotated[str, Field(examples=["3"])]
    id: Annotated[str | None, Field(examples=["42"])] = None
    parameters: Annotated[
        dict[str, Any], Field(examples=[{"run_id": "5c0b6f1f2a8c4a7d8f0d6b8e3a1c9d42"}])
    ]
    outputs: list[OutputTensor]


@dataclass(frozen=True)
class Body:
    """The two parts of a body."""

    document: bytes
    tensors: bytes


def split_body(content: bytes, length: str | None) -> Body:
    """Return the JSON of a body, and what follows it.

    Args:
        content: the body.
        length: what `LENGTH_HEADER` says; None if all of it is JSON.

    Raises:
        HTTPException: 400, it is no number of bytes, or of more than there are.
    """
    if length is None:
        return Body(content, b"")
    if not (length.isdecimal() and len(length) < 12 and int(length) <= len(content)):
        raise HTTPException(400, f"{LENGTH_HEADER} is not how many bytes of the body are JSON.")
    return Body(content[: int(length)], content[int(length) :])


@dataclass(frozen=True)
class Taken:
    """What a model takes and gives."""

    size: int  # pixels of a side
    most: int  # images of a request
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """A request that was understood; one of `pixels` and `files` is given."""

    request: InferenceRequest
    pixels: Pixels | None = None  # uint8 RGB (n, size, size, 3)
    files: list[bytes] | None = None

    def is_binary(self, output: WantedOutput | None) -> bool:
        """Return whether an output is wanted as bytes."""
        chosen = output.parameters.get("binary_data") if output else None
        default = self.request.parameters.get("binary_data_output", False)
        return bool(default if chosen is None else chosen)


def understood(document: Any, tensors: bytes, taken: Taken) -> Asked:
    """Return what a request asks for.

    Args:
        document: its JSON.
        tensors: what follows the JSON.
        taken: what the model takes.

    Raises:
        HTTPException: 400, 413.
    """
    try:
        request = InferenceRequest.model_validate(document)
    except ValidationError as error:
        raise HTTPException(400, f"No inference request: {reason_of(error)}.") from None
    if len(request.inputs) != 1 or request.inputs[0].name not in (PIXELS, FILES):
        size = taken.size
        raise HTTPException(
            400,
            f"Give one input: `{PIXELS}` (UINT8, n×{size}×{size}×3), or `{FILES}` (BYTES, n): "
            "image files.",
        )
    unknown = [one.name for one in request.outputs or () if one.name not in taken.outputs]
    if unknown:
        raise HTTPException(
            400, f"There is no output {shown(unknown[0])}, but {', '.join(taken.outputs)}."
        )
    (tensor,) = request.inputs
    raw = _raw(tensor, tensors)
    if tensor.name == PIXELS:
        pixels = as_patches(_numbers(tensor, raw), taken.size, taken.most)
        return Asked(request, pixels=pixels)
    files = _files(tensor, raw)
    if len(files) > taken.most:
        raise HTTPException(413, f"{len(files)} images in one request; at most {taken.most}.")
    return Asked(request, files=files)


def _raw(tensor: InputTensor, tensors: bytes) -> bytes | None:
    """Return the bytes of a tensor; None if it stands in the JSON."""
    expected = {PIXELS: "UINT8", FILES: "BYTES"}[tensor.name]
    if tensor.datatype != expected:
        raise HTTPException(400, f"The datatype of `{tensor.name}` is to be {expected}.")
    length = tensor.parameters.get("binary_data_size")
    if length is None:
        return None
    if length != len(tensors):
        raise HTTPException(
            400, f"binary_data_size is {length}, but {len(tensors)} bytes follow the JSON."
        )
    return tensors


def _numbers(tensor: InputTensor, raw: bytes | None) -> Any:
    try:
        flat = np.asarray(tensor.data) if raw is None else np.frombuffer(raw, np.uint8)
        shape = tensor.shape
        if min(shape, default=-1) < 0 or flat.ndim not in (1, len(shape)):
            raise ValueError
        return flat.reshape(shape)
    except (ValueError, OverflowError, RecursionError):
        raise HTTPException(
            400, f"The data of `{tensor.name}` are not of the shape {tensor.shape}."
        ) from None


def _files(tensor: InputTensor, raw: bytes | None) -> list[bytes]:
    try:
        if raw is not None:
            files = list(_elements(raw))
        elif isinstance(tensor.data, list):
            files = [base64.b64decode(one, validate=True) for one in tensor.data]
        else:
            raise ValueError
    except (ValueError, TypeError, struct.error, binascii.Error):
        raise HTTPException(
            400,
            f"The data of `{tensor.name}` are no files: in JSON a list of Base64 texts, else each "
            "with its length before it (4 bytes, little-endian).",
        ) from None
    if not files or len(files) != int(np.prod(tensor.shape, dtype=object)):
        raise HTTPException(
            400, f"`{tensor.name}` has {len(files)} files, which is not the shape {tensor.shape}."
        )
    return files


def _elements(raw: bytes) -> Sequence[bytes]:
    found, place = [], 0
    while place < len(raw):
        (length,) = struct.unpack_from("<I", raw, place)
        place += 4
        if place + length > len(raw):
            raise ValueError
        found.append(raw[place : place + length])
        place += length
    return found


def encoded(asked: Asked, values: Mapping[str, Sequence[Any]]) -> tuple[list[Any], bytes]:
    """Return the outputs that were asked for, as JSON, and the bytes of those wanted as bytes.

    Args:
        asked: the request.
        values: one value an image, by the name of the output.
    """
    named = asked.request.outputs
    wanted = named if named else [WantedOutput(name=name) for name in values]
    documents, parts = [], []
    for one in wanted:
        array = np.asarray(values[one.name])
        document: dict[str, Any] = {
            "name": one.name,
            "datatype": datatype_of(array),
            "shape": list(array.shape),
        }
        if asked.is_binary(one if named else None):
            parts.append(_packed(array))
            document["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            document["data"] = array.tolist()
        documents.append(document)
    return documents, b"".join(parts)


def datatype_of(array: npt.NDArray[Any]) -> str:
    """Return what the protocol calls the type of an output."""
    return {"f": "FP64", "b": "BOOL"}.get(array.dtype.kind, "BYTES")


def _packed(array: npt.NDArray[Any]) -> bytes:
    if datatype_of(array) != "BYTES":
        return array.tobytes()  # little-endian on every machine that OpenVINO runs on
    texts = [text.encode() for text in array.tolist()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def as_json(content: Any) -> bytes:
    """Return JSON without blanks."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
