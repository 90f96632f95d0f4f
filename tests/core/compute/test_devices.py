"""Tests of devices: existing devices are candidates, best first, and missing ones are refused by name."""

from __future__ import annotations

import pynvml
import pytest
import torch

from dipddpm.core.compute import devices
from dipddpm.core.errors import UserError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make the driver show four GPUs."""
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 4)
    return monkeypatch


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 4), ("", 0), ("-1", 0), ("0", 1), ("2,3", 2), ("GPU-abc", 1), ("0,1,2,3,4,5", 4)]
)
def test_gpu_count_ignores_gpus_hidden_by_environment(
    visible: str | None, count: int, gpus: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        gpus.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.gpu_count() == count
    assert devices.candidates("auto") == [f"cuda:{n}" for n in range(count)] or count == 0
    assert devices.candidates("cpu") == ["cpu"]


def test_device_candidates_accept_existing_gpu_and_refuse_others(gpus: pytest.MonkeyPatch) -> None:
    assert devices.candidates("cuda") == ["cuda:0"]
    assert devices.candidates("cuda:3") == ["cuda:3"]
    with pytest.raises(UserError, match="no device cuda:4: this machine has 4 GPUs"):
        devices.candidates("cuda:4")


def test_device_candidates_fall_back_to_cpu_without_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert devices.candidates("auto") == ["cpu"]
    with pytest.raises(UserError, match="has no GPU"):
        devices.candidates("cuda")


def test_device_resolve_refuses_gpu_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="can't use it"):
        devices.resolve("cuda:0")


def test_device_describe_names_processor() -> None:
    assert devices.describe(devices.resolve("cpu"))
