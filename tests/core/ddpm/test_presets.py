"""The U-Net presets in miniature: the settings for a GPU also run on a CPU."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dipddpm.core.config import PRESETS, DdpmRun, build
from dipddpm.core.events import BestModel, EpochFinished, Pictures
from dipddpm.core.experiments.ddpm import DdpmExperiment

SMALL = {
    "data.dataset": "fashion-mini",
    "data.train_images": 24,
    "ddpm.epochs": 2,
    "ddpm.batch_size": 8,
    "ddpm.timesteps": 20,
    "ddpm.warmup": 2,
    "ddpm.samples": 2,
    "ddpm.sample_every": 1,
    "ddpm.sample_steps": 3,
}
SIZES: dict[str, dict[str, Any]] = {
    "cpu": {"unet.channels": "8,16"},
    "gpu": {"unet.channels": "8,8,16", "unet.blocks": 1},
}


def experiment(preset: str, **settings: Any) -> DdpmExperiment:
    config = build("ddpm", preset=preset, settings={**SMALL, **SIZES[preset], **settings})
    assert isinstance(config, DdpmRun)
    return DdpmExperiment.from_config(config, "cpu")


def run_through(run: DdpmExperiment) -> list[float]:
    """Run an experiment to its end, check its items and return the loss of each epoch."""
    items = list(run)
    losses = [item.loss for item in items if isinstance(item, EpochFinished)]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    assert any(isinstance(item, BestModel) and item.measure == "held_out" for item in items)
    assert [item.name for item in items if isinstance(item, Pictures)][2:] == ["progress", "progress", "samples"]
    assert all(parameter.dtype == torch.float32 for parameter in run.network.parameters())
    return losses


@pytest.mark.parametrize("preset", SIZES)
def test_unet_preset_runs_in_miniature(preset: str) -> None:
    run_through(experiment(preset, **{"ddpm.compile": False}))


def test_gpu_preset_bfloat16_nearly_matches_float32_losses() -> None:
    assert PRESETS["ddpm"]["gpu"]["ddpm.precision"] == "bfloat16"
    settings = {"ddpm.compile": False, "unet.dropout": 0.0}
    half, full = (
        run_through(experiment("gpu", **settings, **{"ddpm.precision": precision}))
        for precision in ("bfloat16", "float32")
    )
    assert half != full
    assert half == pytest.approx(full, rel=0.02)


@pytest.mark.slow
def test_gpu_preset_compiled_matches_eager_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace the real network but run eager kernels, which need no compilation; test_compile.py compiles kernels."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **_: compiler(network, dynamic=False, backend="aot_eager"))
    assert PRESETS["ddpm"]["gpu"]["ddpm.compile"]
    settings = {"unet.channels": "8", "unet.dropout": 0.0, "ddpm.precision": "float32"}
    compiled, eager = (
        run_through(experiment("gpu", **settings, **{"ddpm.compile": compiled})) for compiled in (True, False)
    )
    assert compiled == pytest.approx(eager, rel=1e-3)
