"""A half of the classifier in its folder: as Keras has it, and as the runtime runs it.

model.keras   the half in Keras
network.xml   the same as OpenVINO IR, in the precision that is computed with
network.bin   its weights
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cracks.inference.runtime.openvino_runtime import Network, Runs

KERAS: Final = "model.keras"
NETWORK: Final = "network.xml"


def runtime_is_installed() -> bool:
    """Return whether OpenVINO is there."""
    return find_spec("openvino") is not None


def open_network(folder: Path, precision: str) -> Runs:
    """Return the network in `folder`, ready to run.

    Where OpenVINO is missing TensorFlow runs it, slowly, and one line on standard error says so.

    Raises:
        BundleError: OpenVINO cannot load it; WorkspaceError: Keras cannot.
    """
    if runtime_is_installed():
        return Network(folder / NETWORK, precision)
    from cracks.training.networks.keras_files import load_model
    from cracks.training.networks.keras_network import KerasNetwork

    print(f"  OpenVINO is not installed: TensorFlow runs {folder.name}, slowly", file=sys.stderr)
    return KerasNetwork(load_model(folder / KERAS))
