"""Other servers' protocols: clients of MLflow and of KServe's Open Inference Protocol ask here."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
from processes import CHECKOUT, TOOLS, environment

from cracks.inference.handover.prediction_id import parse_prediction_id
from tests.integration.bundles import grey_image, service_folder
from tests.integration.conftest import Serve
from tests.integration.services import ServiceProcess

SIZE = 32
BRIGHT = grey_image(200, size=SIZE)
SCORE = 200 / 255
PIXELS = np.full((2, SIZE, SIZE, 3), 200, np.uint8)
PIXELS[1] = 60
MODEL = "/v2/models/classifier"


@pytest.fixture(scope="module")
def service(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = service_folder(tmp_path_factory.mktemp("protocols"), size=SIZE, novelty=True)
    with serve(folder) as running:
        running.wait_for_version("1")
        yield running


# --- MLflow ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": PIXELS.tolist()},
        {"inputs": {"image": PIXELS.tolist()}},
        {"instances": PIXELS.tolist()},
        {"instances": [{"image": patch} for patch in PIXELS.tolist()]},
    ],
    ids=["inputs", "named inputs", "instances", "named instances"],
)
def test_it_responds_as_mlflow_models_serve_does_and_says_more(
    service: ServiceProcess, body: dict[str, Any]
) -> None:
    response = service.client.post("/invocations", json=body)
    assert response.status_code == 200, response.text
    content = response.json()
    np.testing.assert_allclose(content["predictions"], [[SCORE], [60 / 255]], atol=1e-4)
    assert [one["label"] for one in content["answers"]] == ["crack", "no crack"]
    assert parse_prediction_id(content["answers"][0]["prediction_id"]).version == "1"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"dataframe_split": {}}, "takes no tables"),
        ({"inputs": [], "instances": []}, "Send one object"),
        ([1, 2], "Send one object"),
        ({"inputs": []}, f"n×{SIZE}×{SIZE}×3"),
        ({"inputs": [[1, 2], [3]]}, "ragged"),
        ({"inputs": PIXELS[0].tolist()}, f"the shape {SIZE}×{SIZE}×3"),
        ({"inputs": (PIXELS[:1] + 100.5).tolist()}, "whole numbers from 0 to 255"),
        ({"inputs": (PIXELS[:1].astype(int) + 100).tolist()}, "whole numbers from 0 to 255"),
        ({"inputs": {"photo": PIXELS.tolist()}}, "only input is `image`"),
        ({"inputs": "/etc/passwd"}, "the shape one number"),
        ({"inputs": None}, "the shape one number"),
    ],
)
def test_other_inputs_are_refused_in_words(service: ServiceProcess, body: Any, reason: str) -> None:
    response = service.client.post("/invocations", json=body)
    assert response.status_code == 400
    assert reason in response.json()["detail"]


def test_mlflows_signs_of_life(service: ServiceProcess) -> None:
    ping = service.client.get("/ping")
    assert (ping.status_code, ping.text) == (200, "\n")
    assert service.client.get("/version").text[0].isdigit()


# --- the Open Inference Protocol ------------------------------------------------------------------

#: Runs with NVIDIA's client alone; prints what it got as JSON.
CLIENT = """
import json, sys
import numpy as np
import tritonclient.http as triton

address, size, *images = sys.argv[1:]
client, size = triton.InferenceServerClient(address), int(size)
said = {
    "alive": [client.is_server_live(), client.is_server_ready()],
    "ready": [client.is_model_ready("classifier", version) for version in ("", "1", "2")],
    "server": client.get_server_metadata(),
    "model": client.get_model_metadata("classifier", "1"),
}

def asked(name, array, datatype, outputs=None, **options):
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, **options)
    result = client.infer("classifier", [tensor], request_id="mine", outputs=outputs)
    document = result.get_response()
    values = {one["name"]: result.as_numpy(one["name"]).tolist() for one in document["outputs"]}
    return {"id": document["id"], "version": document["model_version"], **values}

pixels = np.full((2, size, size, 3), 200, np.uint8)
pixels[1] = 60
said["binary pixels"] = asked("image", pixels, "UINT8")
said["pixels as JSON"] = asked("image", pixels, "UINT8", binary_data=False)
files = np.array([open(image, "rb").read() for image in images], object)
wanted = [
    triton.InferRequestedOutput("score", binary_data=False),
    triton.InferRequestedOutput("label"),
]
said["files"] = asked("encoded", files, "BYTES", wanted)
try:
    tensor = triton.InferInput("image", [1], "UINT8")
    client.infer("another", [tensor.set_data_from_numpy(np.zeros(1, np.uint8))])
except triton.InferenceServerException as error:
    said["refusal"] = [error.status(), error.message()]
print(json.dumps(said, default=lambda text: text.decode()))
"""


@pytest.fixture(scope="module")
def triton_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the client of uv.lock, which does not go together with the pipeline."""
    place = tmp_path_factory.mktemp("client") / "venv"
    command = f"sync --project {CHECKOUT} --frozen --no-progress --only-group kserve-client"
    subprocess.run(
        [TOOLS / "uv", *command.split()],
        env=environment(UV_PROJECT_ENVIRONMENT=str(place)),
        check=True,
        capture_output=True,
        timeout=300,
    )
    return place / "bin/python"


def test_nvidias_client_asks_here_as_it_asks_triton(
    service: ServiceProcess, triton_client: Path, tmp_path: Path
) -> None:
    image = tmp_path / "bright.jpg"
    image.write_bytes(grey_image(200, "JPEG"))
    arguments = [f"127.0.0.1:{service.port}", str(SIZE), str(image)]
    done = subprocess.run(
        [triton_client, "-c", CLIENT, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["alive"] == [True, True]
    assert said["ready"] == [True, True, False]
    assert said["server"]["extensions"] == ["binary_tensor_data"]
    outputs = {one["name"]: one["datatype"] for one in said["model"]["outputs"]}
    for way in ("binary pixels", "pixels as JSON"):
        response = said[way]
        assert response.keys() == outputs.keys() | {"id", "version"}
        assert (response["id"], response["version"]) == ("mine", "1")
        assert response["score"] == pytest.approx([SCORE, 60 / 255], abs=1e-4)
        assert response["label"] == ["crack", "no crack"]
        assert response["novel"] == [False, False]
        assert parse_prediction_id(response["prediction_id"][0]).version == "1"
    assert said["files"]["score"] == pytest.approx([SCORE], abs=0.01)
    assert said["files"].keys() == {"id", "version", "score", "label"}
    status, message = said["refusal"]
    assert (status, message) == ("404", "That is not in service; version 1 of classifier is.")


def tensor(name: str, datatype: str, shape: list[int], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape, **more}]}


FILE = base64.b64encode(BRIGHT).decode()


def test_files_come_as_base64_in_plain_json_too(service: ServiceProcess) -> None:
    document = tensor("encoded", "BYTES", [2], data=[FILE, FILE])
    response = service.client.post(f"{MODEL}/versions/1/infer", json=document).json()
    assert response["parameters"] == {"run_id": "run-1"}
    scores = next(one for one in response["outputs"] if one["name"] == "score")
    assert (scores["datatype"], scores["shape"]) == ("FP64", [2])
    assert scores["data"] == pytest.approx([SCORE, SCORE], abs=1e-4)


@pytest.mark.parametrize(
    ("document", "tail", "status", "reason"),
    [
        (None, b"", 400, "No inference request"),
        ({"inputs": []}, b"", 400, "Give one input"),
        (tensor("pixels", "UINT8", [1]), b"", 400, "Give one input"),
        (tensor("image", "FP32", [1]), b"", 400, "datatype of `image` is to be UINT8"),
        (tensor("image", "UINT8", [1, 2, 2, 3], data=[1, 2]), b"", 400, "not of the shape"),
        (tensor("image", "UINT8", [-1], data=[1, 2]), b"", 400, "not of the shape"),
        (tensor("image", "UINT8", [1, 2, 2, 3], data=[1] * 12), b"", 400, "this model takes"),
        (tensor("image", "UINT8", [10**9] * 4, data=[1]), b"", 400, "not of the shape"),
        (tensor("image", "UINT8", [1], data={"a": 1}), b"", 400, "`image`"),
        (tensor("encoded", "BYTES", [1], data=["/etc/passwd!"]), b"", 400, "no files"),
        (tensor("encoded", "BYTES", [1], data=["bm8="]), b"", 415, "file 1: not a JPEG"),
        (tensor("encoded", "BYTES", [2], data=[FILE]), b"", 400, "not the shape [2]"),
        (tensor("encoded", "BYTES", [1]), b"", 400, "no files"),
        (tensor("encoded", "BYTES", [1], parameters={"binary_data_size": 9}), b"", 400, "9, but 0"),
        (
            tensor("encoded", "BYTES", [1], parameters={"binary_data_size": 4}),
            b"\xff\xff\xff\xff",
            400,
            "no files",
        ),
        (
            tensor("encoded", "BYTES", [1], data=[FILE]) | {"outputs": [{"name": "crack"}]},
            b"",
            400,
            "There is no output 'crack'",
        ),
        (tensor("encoded", "BYTES", [65], data=[FILE] * 65), b"", 413, "at most 64"),
    ],
)
def test_another_request_is_refused_where_clients_of_the_protocol_look(
    service: ServiceProcess, document: Any, tail: bytes, status: int, reason: str
) -> None:
    content = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(content))}
    response = service.client.post(f"{MODEL}/infer", content=content + tail, headers=headers)
    assert response.status_code == status
    assert reason in response.json()["detail"]
    assert response.json()["error"] == response.json()["detail"]


# --- the description of the interface -------------------------------------------------------------


@pytest.fixture(scope="module")
def description(service: ServiceProcess) -> dict[str, Any]:
    content: dict[str, Any] = service.client.get("/openapi.json").json()
    return content


def operations(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }


def test_the_description_is_valid_and_names_every_route(description: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(description).validate()
    assert operations(description).keys() >= {
        "POST /predict",
        "POST /inspect",
        "POST /invocations",
        "POST /v2/models/{name}/infer",
        "GET /answers",
        "GET /health",
        "GET /metrics",
        "GET /model",
        "GET /model/history",
        "GET /ping",
        "GET /ready",
        "GET /v2",
        "GET /version",
    }
    refusals = operations(description)["POST /predict"]["responses"].keys()
    assert {"413", "415", "422", "503"} <= refusals


def test_every_operation_says_what_it_does_what_it_returns_and_how_it_refuses(
    description: dict[str, Any],
) -> None:
    for name, operation in operations(description).items():
        assert operation["description"], name
        assert operation["tags"], name
        for status, response in operation["responses"].items():
            if status >= "400":
                schema = response["content"]["application/json"]["schema"]
                assert schema["$ref"].endswith("/Problem"), (name, status)


def test_every_response_has_an_example_of_each_of_its_parts(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]

    def lacking(schema: dict[str, Any], path: str) -> Iterator[str]:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            yield from lacking(schemas[name], name)
        elif "items" in schema and "examples" not in schema:
            yield from lacking(schema["items"], path)
        elif "properties" in schema:
            for name, part in schema["properties"].items():
                yield from lacking(part, f"{path}.{name}")
        elif not {"example", "examples", "const"} & schema.keys():
            yield path

    missing = {
        place
        for name, operation in operations(description).items()
        for kind, content in operation["responses"]["200"].get("content", {}).items()
        # An example of the whole has one of each part.
        if kind == "application/json" and "example" not in content
        for place in lacking(content["schema"], name)
    }
    assert missing == set()
