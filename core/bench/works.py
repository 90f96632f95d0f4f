"""The work of the program whose speed is measured: training, DIP fits, sampling, restoration.

Images are random where their contents don't matter for the time, and those of `fashion-mini` where they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import msgspec
import torch
from torch import Tensor

from dipddpm.core import config as configs
from dipddpm.core import data, registry
from dipddpm.core.bench.convolutions import convolving
from dipddpm.core.bench.rates import Work
from dipddpm.core.config import HYBRIDS, DdpmRun, DipConfig, parse_task
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.options import TrainOptions
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.ddpm.training import READ_EVERY, DdpmTraining
from dipddpm.core.degrade import degrade
from dipddpm.core.degrade.case import Case
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.images import to_unit
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.baselines import DdpmRestorer, DipRestorer
from dipddpm.core.runs import reference

SHAPE = (1, 28, 28)
ENDLESS = 1_000_000
"""Epochs."""
BATCH = 128
NETWORKS: Mapping[str, tuple[str, str | None]] = {
    "tutorial": ("tutorial", None),
    "unet, cpu": ("unet", "cpu"),
    "unet, gpu": ("unet", "gpu"),
}
"""What is trained: the network and the preset that gives its size."""
TUNED = {"ddpm.compile": True, "ddpm.compile_mode": "max-autotune"}
"""With CUDA graphs, and kernels tried out."""
FITTED: Mapping[str, DipConfig] = {
    "": DipConfig(),
    ", bfloat16": DipConfig(precision="bfloat16"),
    ", compiled": DipConfig(compile=True, compile_mode="reduce-overhead"),
    ", bfloat16, compiled": DipConfig(precision="bfloat16", compile=True, compile_mode="reduce-overhead"),
}
"""The forms of a fit, by what is added to its name."""
NFE = (5, 10, 20, 50)
RESTORED = "inpaint:missing=0.7,sigma=5"


def training(device: torch.device) -> Iterator[Work]:
    """Steps of 128 images, by network, precision and whether compiled; the large U-Net on a GPU only."""
    gpu = device.type == "cuda"
    items, units = 2, 2 * BATCH * (READ_EVERY if gpu else 1)
    for name, (network, preset) in NETWORKS.items():
        if name == "unet, gpu" and not gpu:
            continue
        for precision in ("float32", "bfloat16"):
            plain = training_of(network, preset, {"ddpm.precision": precision}, device)
            run = partial(take, plain, items)
            yield Work("training", f"{name}, {precision}", "images", units, run, precision)
            compiled = training_of(network, preset, {"ddpm.precision": precision, "ddpm.compile": True}, device)
            fast = partial(take, compiled, items)
            yield Work("training", f"{name}, {precision}, compiled", "images", units, fast, precision, run)
            if gpu:
                tuned = training_of(network, preset, {**TUNED, "ddpm.precision": precision}, device)
                best = partial(take, tuned, items)
                yield Work("training", f"{name}, {precision}, max-autotune", "images", units, best, precision, run)


def fitting(device: torch.device) -> Iterator[Work]:
    """Iterations of DIP with the settings for small images, by how many images are fitted at once, precision and
    whether compiled; on a GPU the large network of the paper on 512x512 pixels, too."""
    gpu = device.type == "cuda"
    for count in (1, 10, 100, 1000, 4000) if gpu else (1, 10, 50):
        y, degradation = degrade(parse_task("denoise:sigma=25"), test_images(count, device), seeds=range(count))
        iterations = 50 if gpu else max(2, 20 // count)
        name = f"{count} image{'s' * (count > 1)} at once"
        for form, options in FITTED.items() if gpu or count == 10 else [("", DipConfig())]:
            batch = PriorBatch(y, degradation, options, SHAPE)
            yield _iterations(name + form, batch, iterations, options)
    if gpu:
        y, degradation = degrade(parse_task("denoise:sigma=25"), torch.rand(1, 3, 512, 512, device=device), seeds=[0])
        for form, options in FITTED.items():
            large = msgspec.structs.replace(options, scales=5, channels=128, upsampling="bilinear")
            batch = PriorBatch(y, degradation, large, (3, 512, 512))
            yield _iterations("512x512, 5 scales of 128 channels" + form, batch, 10, large)


def _iterations(name: str, batch: PriorBatch, count: int, options: DipConfig) -> Work:
    plain = None
    if options.compile:  # what is compiled can't be counted
        eager = msgspec.structs.replace(options, compile=False)
        shape = batch.restored.shape[1:]
        same = PriorBatch(batch.y, batch.degradation, eager, (shape[0], shape[1], shape[2]))
        plain = partial(_repeat, same.step_once, count)
    work, units = partial(_repeat, batch.step_once, count), len(batch) * count
    return Work("dip", name, "image-iterations", units, work, options.precision, plain)


def sampling(device: torch.device) -> Iterator[Work]:
    """Samples of the prior that ships, by evaluations of the network, and whether that is compiled."""
    plain = prior(device)
    fast = plain.compiled("reduce-overhead")
    count = 1024 if device.type == "cuda" else 16

    def sample(model: TrainedModel, steps: int) -> None:
        start = (count, *model.shape)
        for _ in Sampling(model.denoiser(), solver("dpm++"), start, steps=steps, device=device):
            pass

    for nfe in NFE:
        eager = partial(sample, plain, nfe)
        yield Work("sampling", f"dpm++, {nfe} NFE", "images", count, eager)
        yield Work(
            "sampling", f"dpm++, {nfe} NFE, compiled", "images", count, partial(sample, fast, nfe), counted=eager
        )


def restoring(device: torch.device) -> Iterator[Work]:
    """Whole restorations by each method with its defaults: inpainting of a small batch, all of it counted.

    They take seconds to minutes, so that two of each tell enough.
    """
    model, dip = prior(device), DipConfig()
    count = 64 if device.type == "cuda" else 2
    y, degradation = degrade(parse_task(RESTORED), test_images(count, device), seeds=range(count))
    case = Case(y, degradation, (count, *SHAPE))
    made: dict[str, Callable[[], Restorer]] = {
        "dip": lambda: DipRestorer(case, dip),
        "ddpm": lambda: DdpmRestorer(case, model),
    }
    for name, method in HYBRIDS.items():
        options = method()
        if options.restorer_path:
            build = registry.resolve(options.restorer_path).for_case
            made[name] = partial(build, case, model, options, dip)
    for name, make in made.items():
        yield Work("restoration", name, "images", count, partial(_restore, make), long=True)


PARTS: Mapping[str, Callable[[torch.device], Iterator[Work]]] = {
    "training": training,
    "dip": fitting,
    "convolution": convolving,
    "sampling": sampling,
    "restoration": restoring,
}
"""What can be measured, each a function from the device to its works."""


def training_of(network: str, preset: str | None, settings: dict[str, Any], device: torch.device) -> Iterator[object]:
    """The items of an endless training, its network made now and its images drawn now."""
    config = configs.build("ddpm", preset=preset, settings={"ddpm.network": network, **settings})
    options = cast(DdpmRun, config).ddpm
    built = registry.network(network).for_images(SHAPE, config).to(device)
    images = torch.randint(256, (60_000, *SHAPE), dtype=torch.uint8, device=device)
    train = DdpmTraining(
        built,
        Schedule.from_config(options, device),
        images,
        epochs=ENDLESS,
        batch_size=BATCH,
        options=TrainOptions.from_config(options),
    )
    return iter(train)


def take(items: Iterator[object], count: int) -> None:
    """Go on by so many items."""
    for _ in zip(range(count), items, strict=False):
        pass


def _repeat(function: Callable[[], object], times: int) -> None:
    for _ in range(times):
        function()


def _restore(make: Callable[[], Restorer]) -> Tensor:
    restorer = make()
    for _ in restorer:
        pass
    return restorer.images


def test_images(count: int, device: torch.device) -> Tensor:
    """Test images of `fashion-mini`, over and over: (count, 1, 28, 28) in [0, 1]."""
    images = data.load("fashion-mini", "test").images
    places = torch.arange(count) % len(images)
    return to_unit(images[places]).to(device)


def prior(device: torch.device) -> TrainedModel:
    """The model that ships."""
    return TrainedModel.of_run(reference.FOLDER / reference.PRIOR, device)
