"""Our fit against the code that came with the paper (Ulyanov et al., CVPR 2018), which you have to bring along.

Both restore the same measurements, the original at the settings of its denoising notebook but for the number of scales,
which small images limit to three. Told are the seconds that pass, and those of the processor, on which what else the
machine does falls less: with several threads the two differ.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import msgspec
import torch
from torch import Tensor, nn

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DipRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import StopsCompared
from dipddpm.core.experiments.dip import DipExperiment
from dipddpm.core.methods.budget import Clock, clock_of
from dipddpm.core.metrics.image import psnr

Build = Callable[..., nn.Module]
SCALES = 3
INPUT_CHANNELS = 32
INPUT_NOISE = 1 / 30
LR = 0.01
AVERAGE = 0.99


class Taken(msgspec.Struct, frozen=True):
    """Seconds."""

    passed: float
    processor: float
    """Of all threads together; on a GPU those that pass."""

    def __sub__(self, other: Taken) -> Taken:
        return Taken(self.passed - other.passed, self.processor - other.processor)

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.passed + other.passed, self.processor + other.processor)

    def __mul__(self, factor: float) -> Taken:
        return Taken(self.passed * factor, self.processor * factor)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What both reached, in dB and in seconds for all images; the original takes them one after the other."""

    images: int
    fitted: int
    """Images that the original was given; its seconds are those of these, for as many as there are."""
    milliseconds: float
    """Of an iteration of the original, on one image."""
    best: float
    """The mean over its images of PSNR, of the average of its outputs, where that is highest."""
    best_at: int
    original: Taken
    """The original's, to its best."""
    psnr: float
    """Ours at the truth-free stops, on the images that the original was given."""
    psnr_of_all: float
    ours: Taken
    """Of all images, until the last one has stopped."""
    spread: Taken
    """Half the range of ours."""
    as_good: Taken | None
    """Ours, of all images, until the average of those that the original was given is as good as the original's best;
    None where it never is."""

    def ratio(self, to: Taken) -> Taken:
        """How many times seconds fit into the original's."""
        return Taken(self.original.passed / to.passed, self.original.processor / to.processor)


def load(folder: Path) -> Build:
    """The function that makes a network of the original, from a checkout of github.com/DmitryUlyanov/deep-image-prior.

    Its code is run. Raises UserError where there is none.
    """
    file = folder / "models" / "__init__.py"
    if not file.is_file():
        problem = f"{folder} holds no code of the original."
        raise UserError(problem, "Give a checkout of github.com/DmitryUlyanov/deep-image-prior.")
    spec = importlib.util.spec_from_file_location(
        "deep_image_prior", file, submodule_search_locations=[str(file.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its files import each other
    spec.loader.exec_module(module)
    build: Build = module.get_net
    return build


def compare(
    build: Build, config: DipRun, fitted: int, iterations: int, device: torch.device | str = "cpu"
) -> Comparison:
    """Restore the config's images by our fit, the first ones of them by the original, and all by ours once more."""
    device = torch.device(device)
    clock = _clock(device)
    ours = [_ours(config, device, clock)]
    experiment = _experiment(config, device)
    batch = experiment.fit.batches[0]
    assert batch.truth is not None
    curves, seconds = [], Taken(0.0, 0.0)
    for place in range(fitted):
        seed = derive(config.seed, "original")
        curve, taken = _fit(build, batch.y[[place]], batch.truth[[place]], iterations, seed, clock)
        curves.append(curve)
        seconds = seconds + taken
    ours.append(_ours(config, device, clock))
    (told, one), (_, other) = ours
    mean = torch.stack(curves).mean(0)
    best, at = mean.max(0)
    each = seconds * (1 / (fitted * iterations))
    count = len(experiment.images)
    return Comparison(
        images=count,
        fitted=fitted,
        milliseconds=1000 * each.passed,
        best=best.item(),
        best_at=int(at) + 1,
        original=each * ((int(at) + 1) * count),
        psnr=statistics.mean(told.psnr[:fitted]),
        psnr_of_all=statistics.mean(told.psnr),
        ours=(one + other) * 0.5,
        as_good=_reach(config, best.item(), fitted, device, clock),
        spread=Taken(abs(one.passed - other.passed) / 2, abs(one.processor - other.processor) / 2),
    )


def _experiment(config: DipRun, device: torch.device) -> DipExperiment:
    # All pictures and looks but the last are left out; they cost time, and the original has none.
    dip = msgspec.structs.replace(config.dip, picture_every=0, measure_every=config.dip.iterations)
    return DipExperiment.from_config(msgspec.structs.replace(config, dip=dip), device)


def _clock(device: torch.device) -> Callable[[], Taken]:
    passed: Clock = time.perf_counter if device.type == "cpu" else clock_of(device)

    def now() -> Taken:
        at = passed()
        return Taken(at, time.process_time() if device.type == "cpu" else at)

    return now


def _ours(config: DipRun, device: torch.device, clock: Callable[[], Taken]) -> tuple[StopsCompared, Taken]:
    experiment = _experiment(config, device)
    began = clock()
    items = list(experiment.fit)
    seconds = clock() - began
    (told,) = [item for item in items if isinstance(item, StopsCompared)]
    return told, seconds


def _reach(
    config: DipRun, wanted: float, fitted: int, device: torch.device, clock: Callable[[], Taken]
) -> Taken | None:
    experiment = _experiment(config, device)
    batch = experiment.fit.batches[0]
    assert batch.truth is not None
    seconds = Taken(0.0, 0.0)
    for _ in range(config.dip.iterations):
        began = clock()
        batch.step_once()
        seconds = seconds + (clock() - began)
        if psnr(batch.restored[:fitted], batch.truth[:fitted]).mean() >= wanted:
            return seconds
    return None


def _fit(  # noqa: PLR0917
    build: Build, y: Tensor, truth: Tensor, iterations: int, seed: int, clock: Callable[[], Taken]
) -> tuple[Tensor, Taken]:
    """PSNR of the average of outputs after each iteration, and the seconds of all of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(
            INPUT_CHANNELS,
            "skip",
            "reflection",
            upsample_mode="bilinear",
            n_channels=y.shape[1],
            num_scales=SCALES,
        ).to(y.device)
        z = 0.1 * torch.rand(1, INPUT_CHANNELS, *y.shape[2:]).to(y.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=LR)
        curve, seconds = [], Taken(0.0, 0.0)
        average: Tensor | None = None
        for _ in range(iterations):
            began = clock()
            output = network(z + INPUT_NOISE * torch.randn_like(z))
            optimizer.zero_grad()
            nn.functional.mse_loss(output, y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            now = output.detach()
            average = now if average is None else AVERAGE * average + (1 - AVERAGE) * now
            seconds = seconds + (clock() - began)
            curve.append(psnr(average, truth)[0])
    return torch.stack(curve), seconds
