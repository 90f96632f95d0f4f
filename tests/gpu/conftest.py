"""The tests of the marker `gpu`: skipped without a CUDA GPU, unless DIPDDPM_GPU_TESTS_DEVICE=cpu asks for the CPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

VARIABLE = "DIPDDPM_GPU_TESTS_DEVICE"
DEVICE = torch.device(os.environ.get(VARIABLE, "cuda"))
"""The device of these tests. On a CPU, those that need nothing but a device run too, so that they are right."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True)
def present() -> None:
    """Skip the test if its device is missing."""
    if DEVICE.type == "cuda" and not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no CUDA GPU here; {VARIABLE}=cpu runs what a CPU can run")


@pytest.fixture
def device() -> torch.device:
    return DEVICE


@pytest.fixture
def cuda() -> torch.device:
    """Return the GPU; skip the test on a CPU."""
    if DEVICE.type != "cuda":
        pytest.skip("needs CUDA itself, not only a device")
    return DEVICE
