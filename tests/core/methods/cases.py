"""Small cases for tests of restorers, and an ideal trained model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dipddpm.core.config import DdpmConfig, DipConfig, parse_task
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.degrade import degrade
from dipddpm.core.degrade.case import Case
from dipddpm.core.events import Step
from dipddpm.core.images import to_model
from dipddpm.core.methods.base import Restorer
from tests.core.ddpm.ideal import Finite
from tests.core.steps import resumed_at

SMALL = DipConfig(iterations=24, scales=2, channels=8, skip_channels=2, input_channels=4, window=5, patience=10)
SCHEDULE = Schedule.from_config(DdpmConfig())


def shapes(count: int, seed: int = 0, size: int = 12) -> Tensor:
    """Return images (N, 1, size, size) of a bright rectangle on a dark background."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.full((count, 1, size, size), 0.1)
    for image in images[:, 0]:
        top, left = torch.randint(0, size // 2, (2,), generator=generator).tolist()
        image[top : top + size // 2, left : left + size // 2] = 0.5 + 0.4 * torch.rand((), generator=generator)
    return images


def case(task: str, truth: Tensor, seed: int = 0) -> Case:
    y, degradation = degrade(parse_task(task), truth, range(len(truth)))
    count, channels, height, width = truth.shape
    return Case(y, degradation, (count, channels, height, width), seed)


def ideal_prior(images: Tensor) -> TrainedModel:
    """Return the ideal model of a data set that consists of these images, all equally likely."""
    options = DdpmConfig(objective="v")
    return TrainedModel(Finite(SCHEDULE, to_model(images)), SCHEDULE, options, torch.device("cpu"))


def assert_resumes_exactly(make: Callable[[], Restorer], cuts: list[int]) -> None:
    """Stop and resume a restorer after each of these steps; the items, images and costs must not change."""
    whole = make()
    items = list(whole)
    steps = [item.step for item in items if isinstance(item, Step)]
    assert steps == sorted(set(steps)) and steps[-1] <= len(whole)
    resumed, last = resumed_at(make, cuts)
    assert resumed == items, f"cut at {cuts} of {len(steps)} steps"
    assert torch.equal(last.images, whole.images)
    assert (whole.spread is None) == (last.spread is None)
    assert whole.spread is None or (last.spread is not None and torch.equal(last.spread, whole.spread))
    assert (last.nfe, last.iterations) == (whole.nfe, whole.iterations)
