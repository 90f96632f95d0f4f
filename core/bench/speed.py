"""The standard workloads: training, DIP fits and sampling with default settings, and forms that may be faster.

Workloads whose time depends on the images use images of `fashion-mini`; the others use random images.
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
"""Number of images in an epoch."""
ENDLESS = 1_000_000
"""Number of epochs of a training that outlasts every measurement."""
SAMPLES = 64
HEUN_STEPS, HEUN_NFE = 10, 19
DENOISE = parse_task("denoise:sigma=25")


def standard(device: torch.device) -> Iterator[Work]:
    """Yield the workloads that `dipddpm bench` measures, in less than a minute on two cores."""
    yield from _training(device)
    yield from _fitting(device)
    yield from _sampling(device)


def _training(device: torch.device) -> Iterator[Work]:
    """Yield training steps on 128 images in float32 and bfloat16, and compiled ones on a GPU."""
    gpu = device.type == "cuda"
    units = 2 * BATCH * (READ_EVERY if gpu else 1)
    bfloat16 = {"ddpm.precision": "bfloat16"}
    for name, network, preset in (("tutorial", "tutorial", None), ("U-Net", "unet", "gpu" if gpu else "cpu")):
        float32 = partial(take, training_of(network, preset, {}, device), 2)
        waits = {f"an epoch of {EPOCH:,} images, {name}": EPOCH}
        yield Work("training", name, "images", units, float32, waits=waits)
        for settings in (bfloat16, {**bfloat16, "ddpm.compile": True}) if gpu else (bfloat16,):
            run = partial(take, training_of(network, preset, settings, device), 2)
            options = " ".join(f"--set {key}={str(value).lower()}" for key, value in settings.items())
            yield Work("training", name, "images", units, run, "bfloat16", float32, options=options, waits=waits)


def _fitting(device: torch.device) -> Iterator[Work]:
    """Yield complete DIP fits, up to their truth-free stops."""
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
    """Yield sampling from the shipped prior by Heun's method, also compiled on a GPU."""
    model = trained_prior(device)
    names = {f"{SAMPLES} samples, Heun, {HEUN_NFE} evaluations": HEUN_NFE, f"{SAMPLES} samples, 1,000 steps": 1000}
    waits = {name: SAMPLES * nfe for name, nfe in names.items()}

    def sample(prior: TrainedModel) -> None:
        shape = (SAMPLES, *prior.shape)
        for _ in Sampling(prior.denoiser(), solver("heun"), shape, steps=HEUN_STEPS, device=device):
            pass

    eager, units = partial(sample, model), SAMPLES * HEUN_NFE
    yield Work("sampling", "reference", "evaluations", units, eager, waits=waits)
    if device.type == "cuda":
        run = partial(sample, model.compiled("reduce-overhead"))
        yield Work("sampling", "reference", "evaluations", units, run, counted=eager, options="--compile", waits=waits)


def training_of(network: str, preset: str | None, settings: dict[str, Any], device: torch.device) -> Iterator[object]:
    """Return the items of an endless training of a new network on random images."""
    endless = {"ddpm.network": network, "ddpm.epochs": ENDLESS, "ddpm.batch_size": BATCH}
    config = cast(DdpmRun, configs.build("ddpm", preset=preset, settings={**endless, **settings}))
    built = registry.network(network).for_images(SHAPE, config).to(device)
    images = torch.randint(256, (EPOCH, *SHAPE), dtype=torch.uint8, device=device)
    return iter(DdpmTraining(built, Schedule.from_config(config.ddpm, device), images, config.ddpm))


def take(items: Iterable[object], count: int) -> None:
    """Consume `count` items."""
    for _ in zip(range(count), items, strict=False):
        pass


def test_images(count: int, device: torch.device) -> Tensor:
    """Return test images of `fashion-mini`, repeated as needed, (count, 1, 28, 28) in [0, 1]."""
    images = data.load("fashion-mini", "test").images
    return to_unit(images[torch.arange(count) % len(images)]).to(device)


def trained_prior(device: torch.device) -> TrainedModel:
    """Return the model of the run `reference`."""
    return TrainedModel.of_run(reference.FOLDER / reference.PRIOR, device)
