"""Class-conditional training and classifier-free guidance, on images of two classes."""

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
"""Mean grey level of each of the two classes."""
SPREAD = 20.0


@pytest.fixture(scope="module")
def trained() -> tuple[UNet, Schedule, list[EpochFinished]]:
    """Train a tiny network on flat images of two classes, one dark and one bright."""
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
    """Return the mean grey level of each of 64 samples."""
    labels = None if label is None else torch.full((64,), label)
    denoiser = Denoiser(network, schedule, objective="v", label=labels, guidance=guidance)
    sampling = Sampling(denoiser, DpmSolver(), (64, 1, 8, 8), steps=15)
    list(sampling)
    return (sampling.xt.flatten(1).mean(1) + 1) * 255 / 2


def test_sampling_with_label_gives_images_of_class(trained: tuple[UNet, Schedule, list[EpochFinished]]) -> None:
    network, schedule, epochs = trained
    assert epochs[-1].loss < 0.5 * epochs[0].loss
    for label, level in enumerate(LEVELS):
        grey_levels = shades(network, schedule, label)
        assert grey_levels.mean().item() == pytest.approx(level, abs=12)
        assert (grey_levels - level).abs().max() < 5 * SPREAD
    unconditional = shades(network, schedule, None)
    assert 16 < (unconditional < 128).sum() < 48, "unconditional samples are not a mix of both classes"


def test_guidance_moves_samples_further_into_class(trained: tuple[UNet, Schedule, list[EpochFinished]]) -> None:
    network, schedule, _ = trained
    dark = [shades(network, schedule, 0, guidance).mean() for guidance in (0.5, 1, 3)]
    bright = [shades(network, schedule, 1, guidance).mean() for guidance in (0.5, 1, 3)]
    assert dark[0] > dark[1] > dark[2]
    assert bright[0] < bright[1] < bright[2]
