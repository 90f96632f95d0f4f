"""Our DIP fit against the code that was published with the paper (Ulyanov et al., CVPR 2018).

Both restore the same measurements. The original has the settings of its denoising notebook, except for the number of
scales, which small images limit to three. Seconds are measured twice: as they pass, and of the processor (of all
threads together), which other work on the machine disturbs less.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated

import msgspec
import torch
import typer
from torch import Tensor, nn

from benchmarks.options import Dataset, Device, Images, Split, Threads, dip_config, resolve
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DipRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import StopsCompared
from dipddpm.core.experiments.dip import DipExperiment
from dipddpm.core.methods.budget import Clock, clock_of
from dipddpm.core.metrics.image import psnr
from dipddpm.tui.cli.output import print_table

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
    """CPU seconds of all threads together; on a GPU the same as `passed`."""

    def __sub__(self, other: Taken) -> Taken:
        return Taken(self.passed - other.passed, self.processor - other.processor)

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.passed + other.passed, self.processor + other.processor)

    def __mul__(self, factor: float) -> Taken:
        return Taken(self.passed * factor, self.processor * factor)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """PSNR in dB and seconds for all images, of both; the original takes the images one after the other."""

    images: int
    fitted: int
    """Images that the original restored; its seconds are extrapolated from these to all images."""
    milliseconds: float
    """An iteration of the original, on one image."""
    best: float
    """The highest PSNR of the original's averaged outputs, a mean over its images."""
    best_at: int
    original: Taken
    """Seconds of the original, to its best."""
    psnr: float
    """Ours at the truth-free stops, on the images that the original restored."""
    psnr_of_all: float
    ours: Taken
    """Seconds of ours, until the last of all images has stopped."""
    spread: Taken
    """Half the range of our seconds."""
    as_good: Taken | None
    """Seconds of ours, for all images, until the original's images are as good on average as the original's best; None
    where they never are."""

    def ratio(self, to: Taken) -> Taken:
        """The original's seconds over others."""
        return Taken(self.original.passed / to.passed, self.original.processor / to.processor)


def measure(
    path: Annotated[
        Path, typer.Argument(help="A checkout of github.com/DmitryUlyanov/deep-image-prior; its code is run.")
    ],
    *,
    task: Annotated[str, typer.Option(metavar="SPEC", help="The noise, as denoise:sigma=25.")] = "denoise:sigma=25",
    images: Images = "0-9",
    split: Split = "test",
    dataset: Dataset = "fashionmnist",
    fitted: Annotated[int, typer.Option(min=1, help="How many of the images the original restores.")] = 2,
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of the original.")] = 600,
    threads: Threads = 0,
    device: Device = "cpu",
) -> None:
    """Compare our DIP fit with the code of its paper.

    The original restores one image after the other. Its seconds are extrapolated from some images to all, and count to
    the iteration where its averaged output is best.
    """
    config = dip_config(dataset, split, images, {"device": device}, task)
    found = compare(load(path.expanduser()), config, fitted, iterations, resolve(device, threads))
    first, every = f"FIRST {found.fitted}", f"ALL {found.images}"
    table = [("", f"PSNR, {first}", f"PSNR, {every}", f"SECONDS, {every}", "RATIO", "OF THE PROCESSOR", "RATIO")]

    def costs(seconds: Taken, spread: Taken | None = None) -> tuple[str, str, str, str]:
        times = found.ratio(seconds)
        ranges = (f" ±{spread.passed:.1f}", f" ±{spread.processor:.1f}") if spread else ("", "")
        passed, processor = f"{seconds.passed:.1f}{ranges[0]}", f"{seconds.processor:.1f}{ranges[1]}"
        return passed, f"1/{times.passed:.1f}", processor, f"1/{times.processor:.1f}"

    best = f"{found.best:.2f}"
    table.append((f"original, best average, iteration {found.best_at}", best, "", *costs(found.original)))
    if found.as_good is not None:
        table.append(("ours, until it is as good", best, "", *costs(found.as_good)))
    psnrs = (f"{found.psnr:.2f}", f"{found.psnr_of_all:.2f}")
    table.append(("ours, at the truth-free stop", *psnrs, *costs(found.ours, found.spread)))
    print_table(list(table))
    print(f"An iteration of the original takes {found.milliseconds:.1f} ms for an image.")


def load(folder: Path) -> Build:
    """Run the code in a checkout of github.com/DmitryUlyanov/deep-image-prior; return its maker of networks.

    Raises UserError where there is none.
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
    """Restore the config's images by our fit, the first of them by the original, and all by our fit once more."""
    device = torch.device(device)
    clock = _clock(device)
    ours = [_ours(config, device, clock)]
    experiment = _experiment(config, device)
    batch = experiment.fit.batches[0]
    assert batch.truth is not None
    curves, seconds = [], Taken(0.0, 0.0)
    for index in range(fitted):
        seed = derive(config.seed, "original")
        curve, taken = _fit(build, batch.y[[index]], batch.truth[[index]], iterations, seed, clock)
        curves.append(curve)
        seconds = seconds + taken
    ours.append(_ours(config, device, clock))
    (stops, one), (_, other) = ours
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
        psnr=statistics.mean(stops.psnr[:fitted]),
        psnr_of_all=statistics.mean(stops.psnr),
        ours=(one + other) * 0.5,
        as_good=_reach(config, best.item(), fitted, device, clock),
        spread=Taken(abs(one.passed - other.passed) / 2, abs(one.processor - other.processor) / 2),
    )


def _experiment(config: DipRun, device: torch.device) -> DipExperiment:
    # Pictures and measurements on the way cost time, and the original has none.
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
    (stops,) = [item for item in items if isinstance(item, StopsCompared)]
    return stops, seconds


def _reach(
    config: DipRun, target: float, fitted: int, device: torch.device, clock: Callable[[], Taken]
) -> Taken | None:
    experiment = _experiment(config, device)
    batch = experiment.fit.batches[0]
    assert batch.truth is not None
    seconds = Taken(0.0, 0.0)
    for _ in range(config.dip.iterations):
        began = clock()
        batch.step_once()
        seconds = seconds + (clock() - began)
        if psnr(batch.restored[:fitted], batch.truth[:fitted]).mean() >= target:
            return seconds
    return None


def _fit(  # noqa: PLR0917
    build: Build, y: Tensor, truth: Tensor, iterations: int, seed: int, clock: Callable[[], Taken]
) -> tuple[Tensor, Taken]:
    """Fit one image; return the PSNR of the averaged outputs after each iteration, and the seconds of all."""
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
