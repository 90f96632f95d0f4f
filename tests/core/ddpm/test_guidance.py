"""A network that knows classes, from its training to samples that are guided."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dipddpm.core.config import DdpmConfig
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import DpmSolver
from dipddpm.core.ddpm.training import DdpmTraining
from dipddpm.core.events import EpochFinished

LEVELS = (40.0, 215.0)
"""Grey levels about which the images of the two classes lie."""
SPREAD = 20.0


@pytest.fixture(scope="module")
def trained() -> tuple[UNet, Schedule, list[EpochFinished]]:
    """A tiny network that has seen flat images of two classes, one dark and one bright."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(512) % 2
    shades = torch.tensor(LEVELS)[labels] + SPREAD * torch.randn(512, generator=generator)
    images = shades.clamp(0, 255).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    schedule = Schedule.from_config(DdpmConfig(schedule="cosine", timesteps=50))
    torch.manual_seed(0)
    network = UNet((1, 8, 8), channels=(16,), attention=0, classes=2, timesteps=50)
    options = DdpmConfig(
        objective="v", epochs=15, batch_size=32, lr=3e-3, label_dropout=0.2, stratified=True, ema=0.99, decay="cosine"
    )
    training = DdpmTraining(network, schedule, images, options, labels=labels)
    epochs = [item for item in training if isinstance(item, EpochFinished)]
    return training.averaged, schedule, epochs  # type: ignore[return-value]


def shades(network: UNet, schedule: Schedule, label: int | None, guidance: float = 1.0) -> Tensor:
    """The mean grey level of each of 64 samples."""
    wanted = None if label is None else torch.full((64,), label)
    denoiser = Denoiser(network, schedule, objective="v", label=wanted, guidance=guidance)
    sampling = Sampling(denoiser, DpmSolver(), (64, 1, 8, 8), steps=15)
    list(sampling)
    return (sampling.xt.flatten(1).mean(1) + 1) * 255 / 2


def test_sampling_with_label_gives_class_asked_for(trained: tuple[UNet, Schedule, list[EpochFinished]]) -> None:
    network, schedule, epochs = trained
    assert epochs[-1].loss < 0.5 * epochs[0].loss
    for label, level in enumerate(LEVELS):
        found = shades(network, schedule, label)
        assert found.mean().item() == pytest.approx(level, abs=12)
        assert (found - level).abs().max() < 5 * SPREAD
    without = shades(network, schedule, None)
    assert 16 < (without < 128).sum() < 48, "both classes, where none is asked for"


def test_guidance_moves_samples_further_into_class(trained: tuple[UNet, Schedule, list[EpochFinished]]) -> None:
    network, schedule, _ = trained
    dark = [shades(network, schedule, 0, guidance).mean() for guidance in (0.5, 1, 3)]
    bright = [shades(network, schedule, 1, guidance).mean() for guidance in (0.5, 1, 3)]
    assert dark[0] > dark[1] > dark[2]
    assert bright[0] < bright[1] < bright[2]
