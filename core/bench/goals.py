"""What a user waits for, in seconds: an epoch, images fitted together, samples at two costs, on the machine at hand.

On a GPU the work is larger, and the quality of the samples is told with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from dipddpm.core import data
from dipddpm.core.bench import quality
from dipddpm.core.bench.program import TimingRow, side_by_side
from dipddpm.core.bench.works import BATCH, SHAPE, TUNED, prior, take, test_images, training_of
from dipddpm.core.config import DipConfig, parse_task
from dipddpm.core.config.ddpm import SamplerName
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.degrade import degrade
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.dip.fit import DipFit
from dipddpm.core.errors import UserError
from dipddpm.core.events import EpochFinished
from dipddpm.core.methods.budget import clock_of

EPOCH = 60_000
STEPS = 8
"""Of an epoch, those that a CPU does; the others are counted as they were."""
SAMPLES = 64
SAMPLERS: Sequence[tuple[SamplerName, int]] = (("ancestral", 1000), ("heun", 19))
"""The published sampler, and the best of ours in a fiftieth of its evaluations."""
MEASURED = 5000
"""Samples whose quality is measured on a GPU; a CPU would need hours."""


def rows(device: torch.device, images: int = 0) -> Iterator[TimingRow]:
    """The seconds of each; `images` are fitted together (0: 1,000 on a GPU, 10 on a CPU)."""
    yield epoch(device)
    yield fit(device, images or (1000 if device.type == "cuda" else 10))
    yield from samples(device, SAMPLES)


def epoch(device: torch.device) -> TimingRow:
    """An epoch of the tutorial network in its fastest form: all of it on a GPU, with what is measured at its end."""
    if device.type == "cuda":
        items = training_of("tutorial", None, {**TUNED, "ddpm.precision": "bfloat16"}, device)
        whole = _seconds(device, lambda: next(item for item in items if isinstance(item, EpochFinished)))
        return side_by_side(name := f"an epoch of {EPOCH:,} images", {name: whole}, repeats=3)[0]
    items = training_of("tutorial", None, {"ddpm.precision": "bfloat16"}, device)
    some, share = _seconds(device, lambda: take(items, STEPS)), STEPS / math.ceil(EPOCH / BATCH)
    name = f"an epoch of {EPOCH:,} images, from {STEPS} steps"
    return side_by_side(name, {name: lambda: some() / share}, repeats=3)[0]


def fit(device: torch.device, count: int) -> TimingRow:
    """So many images, fitted together until each has stopped."""
    y, degradation = degrade(parse_task("denoise:sigma=25"), test_images(count, device), seeds=range(count))

    def work() -> None:
        options = DipConfig()
        batch = PriorBatch(y, degradation, options, SHAPE)
        for _ in DipFit([batch], [range(count)], iterations=options.iterations):
            pass

    name = f"{count:,} image{'s' * (count > 1)} denoised by DIP, to their stops"
    return side_by_side(name, {name: _seconds(device, work)}, repeats=1, warm_up=0)[0]


def samples(device: torch.device, count: int) -> list[TimingRow]:
    """So many samples of the prior that ships, by each of the samplers."""
    model = prior(device)

    def draw(sampler: SamplerName, nfe: int) -> None:
        start, steps = (count, *model.shape), quality.steps_for(sampler, nfe, len(model.schedule))
        for _ in Sampling(model.denoiser(), solver(sampler), start, steps=steps, device=device):
            pass

    names = {f"{count} samples, {sampler}, {nfe} NFE": (sampler, nfe) for sampler, nfe in SAMPLERS}
    work = {name: _seconds(device, partial(draw, *setting)) for name, setting in names.items()}
    repeats = 3 if device.type == "cuda" else 1
    return side_by_side(next(iter(names)), work, repeats=repeats, warm_up=repeats > 1)


def distances(device: torch.device, count: int = MEASURED) -> list[quality.Draw]:
    """The quality of the same, on a GPU; nothing where the test images of Fashion-MNIST aren't at hand."""
    try:
        test = data.load("fashionmnist", "test")
    except UserError:
        return []
    drawn = (quality.draws(prior(device), test, samplers=[s], nfe=[n], samples=count, seeds=1) for s, n in SAMPLERS)
    return [draw for draws in drawn for draw in draws]


def _seconds(device: torch.device, work: Callable[[], object]) -> Callable[[], float]:
    clock = clock_of(device)

    def timed() -> float:
        began = clock()
        work()
        return clock() - began

    return timed
