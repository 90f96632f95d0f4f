"""Benchmark of our DIP fit against the code that was published with the paper (Ulyanov et al., CVPR 2018).

Both restore the same measurements. The original has the settings of its denoising notebook, except for the number of
scales, which small images limit to three. Wall time and CPU time (of all threads together) are measured, since other
work on the machine affects CPU time less.
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


class Elapsed(msgspec.Struct, frozen=True):
    """Wall time and CPU time, in seconds."""

    wall: float
    cpu: float
    """The CPU seconds of all threads together; on a GPU the same as `wall`."""

    def __sub__(self, other: Elapsed) -> Elapsed:
        return Elapsed(self.wall - other.wall, self.cpu - other.cpu)

    def __add__(self, other: Elapsed) -> Elapsed:
        return Elapsed(self.wall + other.wall, self.cpu + other.cpu)

    def __mul__(self, factor: float) -> Elapsed:
        return Elapsed(self.wall * factor, self.cpu * factor)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The PSNR in dB and the time of both programs for all images; the original restores them one by one."""

    images: int
    fitted: int
    """The number of images that the original restored; its time is extrapolated from these to all images."""
    milliseconds: float
    """The wall time of an iteration of the original on one image."""
    best: float
    """The highest PSNR of the original's averaged outputs, averaged over its images."""
    best_at: int
    """The iteration of the original's highest PSNR."""
    original: Elapsed
    """The time of the original until its highest PSNR."""
    psnr: float
    """The PSNR of our fit at its stops without the truth, on the images that the original restored."""
    psnr_of_all: float
    """The PSNR of our fit at its stops without the truth, on all images."""
    ours: Elapsed
    """The time of our fit until all images have stopped."""
    spread: Elapsed
    """Half the range of our times."""
    time_to_match: Elapsed | None
    """The time of our fit of all images until its mean PSNR on the original's images reaches the original's highest;
    None if it never does."""

    def ratio(self, other: Elapsed) -> Elapsed:
        """Return the original's time divided by another."""
        return Elapsed(self.original.wall / other.wall, self.original.cpu / other.cpu)


def measure(
    path: Annotated[
        Path, typer.Argument(help="A checkout of github.com/DmitryUlyanov/deep-image-prior, whose code is run.")
    ],
    *,
    task: Annotated[
        str, typer.Option(metavar="SPEC", help="The noise, for example denoise:sigma=25.")
    ] = "denoise:sigma=25",
    images: Images = "0-9",
    split: Split = "test",
    dataset: Dataset = "fashionmnist",
    fitted: Annotated[int, typer.Option(min=1, help="Number of images that the original restores.")] = 2,
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of the original on each image.")] = 600,
    threads: Threads = 0,
    device: Device = "cpu",
) -> None:
    """Compare our DIP fit with the code of its paper.

    The original restores the images one by one. Its time is measured up to the iteration where its averaged output is
    best, and extrapolated from some images to all.
    """
    config = dip_config(dataset, split, images, {"device": device}, task)
    result = compare(load(path.expanduser()), config, fitted, iterations, resolve(device, threads))
    first, every = f"FIRST {result.fitted}", f"ALL {result.images}"
    table = [("", f"PSNR, {first}", f"PSNR, {every}", f"SECONDS, {every}", "RATIO", "CPU SECONDS", "RATIO")]

    def costs(elapsed: Elapsed, spread: Elapsed | None = None) -> tuple[str, str, str, str]:
        ratio = result.ratio(elapsed)
        ranges = (f" ±{spread.wall:.1f}", f" ±{spread.cpu:.1f}") if spread else ("", "")
        wall, cpu = f"{elapsed.wall:.1f}{ranges[0]}", f"{elapsed.cpu:.1f}{ranges[1]}"
        return wall, f"1/{ratio.wall:.1f}", cpu, f"1/{ratio.cpu:.1f}"

    best = f"{result.best:.2f}"
    table.append((f"original, best average, iteration {result.best_at}", best, "", *costs(result.original)))
    if result.time_to_match is not None:
        table.append(("ours, until it reaches this PSNR", best, "", *costs(result.time_to_match)))
    psnrs = (f"{result.psnr:.2f}", f"{result.psnr_of_all:.2f}")
    table.append(("ours, at its stop without the truth", *psnrs, *costs(result.ours, result.spread)))
    print_table(list(table))
    print(f"An iteration of the original on one image takes {result.milliseconds:.1f} ms.")


def load(folder: Path) -> Build:
    """Run the code in a checkout of github.com/DmitryUlyanov/deep-image-prior and return its network factory.

    Raises UserError if the folder is no such checkout.
    """
    file = folder / "models" / "__init__.py"
    if not file.is_file():
        problem = f"The folder {folder} doesn't have the original's code."
        raise UserError(problem, "Give a checkout of github.com/DmitryUlyanov/deep-image-prior.")
    spec = importlib.util.spec_from_file_location(
        "deep_image_prior", file, submodule_search_locations=[str(file.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # the files of the package import each other
    spec.loader.exec_module(module)
    build: Build = module.get_net
    return build


def compare(
    build: Build, config: DipRun, fitted: int, iterations: int, device: torch.device | str = "cpu"
) -> Comparison:
    """Restore all images by our fit, the first `fitted` images by the original, and all by our fit again."""
    device = torch.device(device)
    clock = clock_for(device)
    ours = [our_fit(config, device, clock)]
    experiment = _experiment(config, device)
    batch = experiment.fit.batches[0]
    assert batch.truth is not None
    curves, total = [], Elapsed(0.0, 0.0)
    for index in range(fitted):
        seed = derive(config.seed, "original")
        curve, elapsed = original_fit(build, batch.y[[index]], batch.truth[[index]], iterations, seed, clock)
        curves.append(curve)
        total = total + elapsed
    ours.append(our_fit(config, device, clock))
    (stops, one), (_, other) = ours
    mean = torch.stack(curves).mean(0)
    best, at = mean.max(0)
    per_iteration = total * (1 / (fitted * iterations))
    count = len(experiment.images)
    return Comparison(
        images=count,
        fitted=fitted,
        milliseconds=1000 * per_iteration.wall,
        best=best.item(),
        best_at=int(at) + 1,
        original=per_iteration * ((int(at) + 1) * count),
        psnr=statistics.mean(stops.psnr[:fitted]),
        psnr_of_all=statistics.mean(stops.psnr),
        ours=(one + other) * 0.5,
        time_to_match=_time_to_reach(config, best.item(), fitted, device, clock),
        spread=Elapsed(abs(one.wall - other.wall) / 2, abs(one.cpu - other.cpu) / 2),
    )


def _experiment(config: DipRun, device: torch.device) -> DipExperiment:
    # Pictures and measurements during the fit would cost time, and the original makes none.
    dip = msgspec.structs.replace(config.dip, picture_every=0, measure_every=config.dip.iterations)
    return DipExperiment.from_config(msgspec.structs.replace(config, dip=dip), device)


def clock_for(device: torch.device) -> Callable[[], Elapsed]:
    """Return a clock that waits for the device's work."""
    wall_clock: Clock = time.perf_counter if device.type == "cpu" else clock_of(device)

    def read() -> Elapsed:
        wall = wall_clock()
        return Elapsed(wall, time.process_time() if device.type == "cpu" else wall)

    return read


def our_fit(config: DipRun, device: torch.device, clock: Callable[[], Elapsed]) -> tuple[StopsCompared, Elapsed]:
    """Fit all images to their stops; return the stops and the time."""
    experiment = _experiment(config, device)
    began = clock()
    items = list(experiment.fit)
    elapsed = clock() - began
    (stops,) = [item for item in items if isinstance(item, StopsCompared)]
    return stops, elapsed


def _time_to_reach(
    config: DipRun, target: float, fitted: int, device: torch.device, clock: Callable[[], Elapsed]
) -> Elapsed | None:
    """Return the time of our fit until the mean PSNR of the first images reaches the target; None if it never does."""
    experiment = _experiment(config, device)
    batch = experiment.fit.batches[0]
    assert batch.truth is not None
    elapsed = Elapsed(0.0, 0.0)
    for _ in range(config.dip.iterations):
        began = clock()
        batch.step_once()
        elapsed = elapsed + (clock() - began)
        if psnr(batch.restored[:fitted], batch.truth[:fitted]).mean() >= target:
            return elapsed
    return None


def original_fit(  # noqa: PLR0917
    build: Build,
    y: Tensor,
    truth: Tensor,
    iterations: int,
    seed: int,
    clock: Callable[[], Elapsed],
    scales: int = SCALES,
) -> tuple[Tensor, Elapsed]:
    """Fit one image by the original; return the PSNR of its averaged outputs at each iteration, and the total time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(
            INPUT_CHANNELS,
            "skip",
            "reflection",
            upsample_mode="bilinear",
            n_channels=y.shape[1],
            num_scales=scales,
        ).to(y.device)
        z = 0.1 * torch.rand(1, INPUT_CHANNELS, *y.shape[2:]).to(y.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=LR)
        curve, elapsed = [], Elapsed(0.0, 0.0)
        average: Tensor | None = None
        for _ in range(iterations):
            began = clock()
            output = network(z + INPUT_NOISE * torch.randn_like(z))
            optimizer.zero_grad()
            nn.functional.mse_loss(output, y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            detached = output.detach()
            average = detached if average is None else AVERAGE * average + (1 - AVERAGE) * detached
            elapsed = elapsed + (clock() - began)
            curve.append(psnr(average, truth)[0])
    return torch.stack(curve), elapsed
