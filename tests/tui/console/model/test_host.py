"""The state of this machine, and the removal of noise from it."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.compute import devices
from dipddpm.tui.console.model.host import NOISE_LIMITS, Gpu, HostSample, HostSampler, short_name, without_noise

CALM = HostSample("box", cpu=50, used_gb=10.0, total_gb=64.0, gpus=(Gpu("H100", 50, 40.0, 80.0, 60, 300),))


def test_host_sampler_measures_this_machine() -> None:
    sample = HostSampler().sample()
    assert sample.hostname == socket.gethostname()[:40]
    assert sample.total_gb == pytest.approx(psutil.virtual_memory().total / 1e9, abs=0.1)
    assert 0 < sample.used_gb < sample.total_gb
    assert 0 <= sample.cpu <= 100
    assert len(sample.gpus) == devices.gpu_count()


@given(st.integers(-4, 4), st.integers(-2, 2), st.floats(-0.1, 0.1))
def test_without_noise_ignores_small_changes(little: int, least: int, memory: float) -> None:
    (gpu,) = CALM.gpus
    shaken = replace(gpu, use=50 + little, temperature=60 + least, power=300 + little, used_gb=40 + memory)
    assert without_noise(replace(CALM, cpu=50 + little, used_gb=10 + memory, gpus=(shaken,)), CALM) == CALM


@pytest.mark.parametrize("change", [{"cpu": 50 + NOISE_LIMITS["cpu"] + 1}, {"used_gb": 11.0}, {"cpu": 0}, {"cpu": 100}])
def test_without_noise_shows_large_changes(change: dict[str, Any]) -> None:
    changed = replace(CALM, **change)
    assert without_noise(changed, CALM) == changed


def test_without_noise_follows_slow_drift() -> None:
    shown = CALM
    for cpu in range(50, 70):
        shown = without_noise(replace(CALM, cpu=cpu), shown)
    assert abs(shown.cpu - 69) <= NOISE_LIMITS["cpu"]


def test_without_noise_shows_missing_or_silent_gpu() -> None:
    assert without_noise(replace(CALM, gpus=()), CALM).gpus == ()
    silent = Gpu("H100", None, 40.0, 80.0)
    assert without_noise(replace(CALM, gpus=(silent,)), CALM).gpus == (silent,)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA", "NVIDIA"),
    ],
)
def test_short_name_shortens_gpu_names(name: str, short: str) -> None:
    assert short_name(name) == short
