"""The standard works: training, DIP fits and sampling with the default settings, and the forms that may be faster.

Images are random where their contents don't change the time, and those of `fashion-mini` where they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from dipddpm.core import config as configs
from dipddpm.core import data, registry
from dipddpm.core.bench.rates import Work
from dipddpm.core.config import DdpmRun, DipConfig, parse_task
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.ddpm.training import READ_EVERY, DdpmTraining
from dipddpm.core.degrade import degrade
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.dip.fit import DipFit
from dipddpm.core.images import to_unit
from dipddpm.core.runs import reference

SHAPE = (1, 28, 28)
BATCH = 128
EPOCH = 60_000
"""Images of an epoch."""
ENDLESS = 1_000_000
"""Epochs of a training that never ends by itself."""
SAMPLES = 64
HEUN_STEPS, HEUN_NFE = 10, 19
DENOISE = parse_task("denoise:sigma=25")


def standard(device: torch.device) -> Iterator[Work]:
    """Yield the works that `dipddpm bench` measures: less than a minute of work on two cores."""
    yield from _training(device)
    yield from _fitting(device)
    yield from _sampling(device)


def _training(device: torch.device) -> Iterator[Work]:
    """Steps of 128 images, in float32 and bfloat16, on a GPU compiled too."""
    gpu = device.type == "cuda"
    units = 2 * BATCH * (READ_EVERY if gpu else 1)
    bfloat16 = {"ddpm.precision": "bfloat16"}
    for name, network, preset in (("tutorial", "tutorial", None), ("U-Net", "unet", "gpu" if gpu else "cpu")):
        plain = partial(take, training_of(network, preset, {}, device), 2)
        waits = {f"an epoch of {EPOCH:,} images, {name}": EPOCH}
        yield Work("training", name, "images", units, plain, waits=waits)
        for settings in (bfloat16, {**bfloat16, "ddpm.compile": True}) if gpu else (bfloat16,):
            run = partial(take, training_of(network, preset, settings, device), 2)
            options = " ".join(f"--set {key}={str(value).lower()}" for key, value in settings.items())
            yield Work("training", name, "images", units, run, "bfloat16", plain, options=options, waits=waits)


def _fitting(device: torch.device) -> Iterator[Work]:
    """Whole DIP fits, to their truth-free stops."""
    gpu = device.type == "cuda"
    count = 1000 if gpu else 10
    waits = {f"{count:,} images denoised by DIP, to their stops": count}
    y, degradation = degrade(DENOISE, test_images(count, device), seeds=range(count))

    def fit(options: DipConfig) -> None:
        batch = PriorBatch(y, degradation, options, SHAPE)
        for _ in DipFit([batch], [range(count)], iterations=options.iterations):
            pass

    forms = {"": DipConfig()} | ({"--set dip.precision=bfloat16": DipConfig(precision="bfloat16")} if gpu else {})
    for form, options in forms.items():
        run, name = partial(fit, options), f"{count:,} images at once"
        yield Work("dip", name, "images", count, run, options.precision, long=True, options=form, waits=waits)


def _sampling(device: torch.device) -> Iterator[Work]:
    """Samples of the prior that ships, by Heun's method, on a GPU compiled too."""
    plain = trained_prior(device)
    names = {f"{SAMPLES} samples, Heun, {HEUN_NFE} evaluations": HEUN_NFE, f"{SAMPLES} samples, 1,000 steps": 1000}
    waits = {name: SAMPLES * nfe for name, nfe in names.items()}

    def sample(model: TrainedModel) -> None:
        start = (SAMPLES, *model.shape)
        for _ in Sampling(model.denoiser(), solver("heun"), start, steps=HEUN_STEPS, device=device):
            pass

    eager, units = partial(sample, plain), SAMPLES * HEUN_NFE
    yield Work("sampling", "reference", "evaluations", units, eager, waits=waits)
    if device.type == "cuda":
        run = partial(sample, plain.compiled("reduce-overhead"))
        yield Work("sampling", "reference", "evaluations", units, run, counted=eager, options="--compile", waits=waits)


def training_of(network: str, preset: str | None, settings: dict[str, Any], device: torch.device) -> Iterator[object]:
    """The items of an endless training of a new network on random images."""
    endless = {"ddpm.network": network, "ddpm.epochs": ENDLESS, "ddpm.batch_size": BATCH}
    config = cast(DdpmRun, configs.build("ddpm", preset=preset, settings={**endless, **settings}))
    built = registry.network(network).for_images(SHAPE, config).to(device)
    images = torch.randint(256, (EPOCH, *SHAPE), dtype=torch.uint8, device=device)
    return iter(DdpmTraining(built, Schedule.from_config(config.ddpm, device), images, config.ddpm))


def take(items: Iterable[object], count: int) -> None:
    """Take so many items."""
    for _ in zip(range(count), items, strict=False):
        pass


def test_images(count: int, device: torch.device) -> Tensor:
    """Test images of `fashion-mini`, repeated as needed: (count, 1, 28, 28) in [0, 1]."""
    images = data.load("fashion-mini", "test").images
    return to_unit(images[torch.arange(count) % len(images)]).to(device)


def trained_prior(device: torch.device) -> TrainedModel:
    """The model of the run `reference`."""
    return TrainedModel.of_run(reference.FOLDER / reference.PRIOR, device)
