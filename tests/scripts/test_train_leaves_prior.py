"""Tests of the training on dead leaves, which continues where it stopped, and of the reference run made of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.runs import Run, RunState
from scripts import make_leaves_run
from scripts import train_leaves_prior as training


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the network, the pool and the measurements small."""
    for name, value in {"SIDE": 16, "CHANNELS": (8, 16), "POOL": 1, "LOG_EVERY": 2, "RENEWED_EVERY": 1000}.items():
        monkeypatch.setattr(training, name, value)
    monkeypatch.setattr(training, "held_out", lambda: {"leaves": torch.rand(2, 3, 16, 16)})


@pytest.mark.usefixtures("small")
def test_training_continues_and_becomes_a_run_of_patches(tmp_path: Path) -> None:
    first = training.Training(tmp_path, 60, ProcessGroup())
    first.run(0.3)
    second = training.Training(tmp_path, 60, ProcessGroup())
    assert (second.step, second.seconds) == (first.step, first.seconds)
    for one, other in zip(first.ema.network.parameters(), second.ema.network.parameters(), strict=True):
        assert torch.equal(one, other)
    while second.step < 4:
        second.run(0.3)
    folder = tmp_path / "20261128-201600-ddpm-0000"
    make_leaves_run.make(tmp_path, folder)
    status = Run(folder).status()
    assert status.state is RunState.finished
    assert status.summary.dataset == "leaves"
    model = TrainedModel.of_run(folder)
    assert model.any_size
    assert model.shape == (3, 16, 16)
    trained = dict(second.ema.network.state_dict())
    assert all(torch.equal(trained[name], value) for name, value in model.network.state_dict().items())


@pytest.mark.usefixtures("small")
def test_most_timesteps_have_the_noise_levels_of_restorations(tmp_path: Path) -> None:
    work = training.Training(tmp_path, 60, ProcessGroup())
    times = torch.cat([work._times(50) for _ in range(40)])
    sigma = 255 * work.schedule.sigma[times]
    assert ((sigma > 1.4) & (sigma < 301)).float().mean() > 0.85
    assert 15 < sigma.median() < 40
    assert times.max() > 900
