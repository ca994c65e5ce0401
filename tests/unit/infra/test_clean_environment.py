"""What processes get of the environment: the tools, and of their settings only the kernels."""

from __future__ import annotations

import os

import pytest
from processes import environment

from infra.clean_environment import clean_environment

KERNELS = {"ONEDNN_MAX_CPU_ISA": "AVX2", "TF_ENABLE_ONEDNN_OPTS": "0"}


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (KERNELS | {"TF_GPU_ALLOCATOR": "mine", "ONEDNN_VERBOSE": "1"}).items():
        monkeypatch.setenv(name, value)


def test_a_process_of_a_test_computes_with_the_kernels_of_the_run() -> None:
    assert KERNELS.items() <= environment().items()


def test_nobody_s_other_settings_reach_a_process_of_a_test() -> None:
    assert not {"TF_GPU_ALLOCATOR", "ONEDNN_VERBOSE"} & environment().keys()
    assert environment(ONEDNN_VERBOSE="2")["ONEDNN_VERBOSE"] == "2"


def test_a_measurement_has_none_of_these_settings_and_keeps_the_tools() -> None:
    clean = clean_environment()
    assert not [name for name in clean if name.startswith(("TF_", "ONEDNN_"))]
    assert clean["PATH"].endswith(os.environ["PATH"])
