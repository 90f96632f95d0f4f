"""Benchmark of the rates of training, DIP fits, convolutions, sampling and restoration, in all their forms.

Images are random where their contents don't affect the time, and from `fashion-mini` where they do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import torch
import typer
from torch import Tensor

from benchmarks import results
from benchmarks.convolutions import convolving
from benchmarks.options import Device, Threads, resolve
from dipddpm.core.bench import rates, roofline
from dipddpm.core.bench.rates import Work
from dipddpm.core.bench.speed import BATCH, SHAPE, take, test_images, trained_prior, training_of
from dipddpm.core.compute import devices
from dipddpm.core.config import HYBRIDS, DipConfig, parse_task
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.ddpm.training import READ_EVERY
from dipddpm.core.degrade import degrade
from dipddpm.core.degrade.case import Case
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.methods.base import Restorer, hybrid_restorer
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.tui.cli.bench import print_machine, print_rates

NETWORKS: Mapping[str, tuple[str, str | None]] = {
    "tutorial": ("tutorial", None),
    "unet, cpu": ("unet", "cpu"),
    "unet, gpu": ("unet", "gpu"),
}
"""The trained networks by label: the network's name and the preset of its size."""
TUNED = {"ddpm.compile": True, "ddpm.compile_mode": "max-autotune"}
"""Settings of training with CUDA graphs and tuned kernels."""
FITTED: Mapping[str, DipConfig] = {
    "": DipConfig(),
    ", bfloat16": DipConfig(precision="bfloat16"),
    ", compiled": DipConfig(compile=True, compile_mode="reduce-overhead"),
    ", bfloat16, compiled": DipConfig(precision="bfloat16", compile=True, compile_mode="reduce-overhead"),
}
"""The forms of a fit, by the suffix of their labels."""
NFE = (5, 10, 20, 50)
RESTORED = "inpaint:missing=0.7,sigma=5"


def measure(
    parts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PART]...", help="training, dip, convolutions, sampling, restoration; default: all."),
    ] = None,
    *,
    threads: Threads = 0,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the numbers (JSON).")] = Path(
        "build/rates.json"
    ),
) -> None:
    """Measure the rates of all forms of the work, with their shares of the roofline.

    Restoration takes minutes.
    """
    for name in parts or []:
        if name not in PARTS:
            raise UserError(f"There is no part {name!r}.", suggest(name, PARTS))
    torch_device = resolve(device, threads)
    machine = roofline.measure(torch_device)
    measured = []
    for part in parts or PARTS:
        for rate in rates.measure(list(PARTS[part](torch_device)), machine):
            measured.append(rate)
            results.save(out, {"torch": str(torch.__version__), "machine": machine, "rates": measured})
            print(f"{rate.part}, {rate.name}", file=sys.stderr)
    print_machine(machine, devices.describe(torch_device))
    print()
    print_rates(measured)


def training(device: torch.device) -> Iterator[Work]:
    """Yield training steps of 128 images, by network, precision and compilation; the large U-Net on a GPU only."""
    gpu = device.type == "cuda"
    items, units = 2, 2 * BATCH * (READ_EVERY if gpu else 1)
    for name, (network, preset) in NETWORKS.items():
        if name == "unet, gpu" and not gpu:
            continue
        for precision in ("float32", "bfloat16"):
            eager = training_of(network, preset, {"ddpm.precision": precision}, device)
            run = partial(take, eager, items)
            yield Work("training", f"{name}, {precision}", "images", units, run, precision)
            compiled = training_of(network, preset, {"ddpm.precision": precision, "ddpm.compile": True}, device)
            fast = partial(take, compiled, items)
            yield Work("training", f"{name}, {precision}, compiled", "images", units, fast, precision, run)
            if gpu:
                tuned = training_of(network, preset, {**TUNED, "ddpm.precision": precision}, device)
                best = partial(take, tuned, items)
                yield Work("training", f"{name}, {precision}, max-autotune", "images", units, best, precision, run)


def fitting(device: torch.device) -> Iterator[Work]:
    """Yield iterations of DIP, by the number of images fitted at once, precision and compilation.

    On a GPU this includes the paper's large network on 512x512 pixels.
    """
    gpu = device.type == "cuda"
    for count in (1, 10, 100, 1000, 4000) if gpu else (1, 10, 50):
        y, degradation = degrade(parse_task("denoise:sigma=25"), test_images(count, device), seeds=range(count))
        iterations = 50 if gpu else max(2, 20 // count)
        name = f"{count} image{'s' * (count > 1)} at once"
        for form, options in FITTED.items() if gpu or count == 10 else [("", DipConfig())]:
            batch = PriorBatch(y, degradation, options, SHAPE)
            yield _iterations(name + form, batch, iterations, options)
    if gpu:
        yield from fitting_large(device)


def fitting_large(device: torch.device, side: int = 512, channels: int = 128, iterations: int = 10) -> Iterator[Work]:
    """Yield iterations of the paper's large network on one RGB image of `side` pixels, in each form."""
    truth = torch.rand(1, 3, side, side, device=device)
    y, degradation = degrade(parse_task("denoise:sigma=25"), truth, seeds=[0])
    for form, options in FITTED.items():
        large = msgspec.structs.replace(options, scales=5, channels=channels, upsampling="bilinear")
        batch = PriorBatch(y, degradation, large, (3, side, side))
        yield _iterations(f"{side}x{side}, 5 scales of {channels} channels{form}", batch, iterations, large)


def _iterations(name: str, batch: PriorBatch, count: int, options: DipConfig) -> Work:
    counted = None
    if options.compile:  # operations of compiled code can't be counted
        eager = msgspec.structs.replace(options, compile=False)
        shape = batch.restored.shape[1:]
        eager_batch = PriorBatch(batch.y, batch.degradation, eager, (shape[0], shape[1], shape[2]))
        counted = partial(_repeat, eager_batch.step_once, count)
    work, units = partial(_repeat, batch.step_once, count), len(batch) * count
    return Work("dip", name, "image-iterations", units, work, options.precision, counted)


def sampling(device: torch.device) -> Iterator[Work]:
    """Yield samplings from the run `reference`, by network evaluations and compilation."""
    prior = trained_prior(device)
    compiled = prior.compiled("reduce-overhead")
    count = 1024 if device.type == "cuda" else 16

    def sample(model: TrainedModel, steps: int) -> None:
        start = (count, *model.shape)
        for _ in Sampling(model.denoiser(), solver("dpm++"), start, steps=steps, device=device):
            pass

    for nfe in NFE:
        eager = partial(sample, prior, nfe)
        yield Work("sampling", f"dpm++, {nfe} NFE", "images", count, eager)
        yield Work(
            "sampling", f"dpm++, {nfe} NFE, compiled", "images", count, partial(sample, compiled, nfe), counted=eager
        )


def restoring(device: torch.device) -> Iterator[Work]:
    """Yield whole restorations of a small inpainting batch, by each method with its default options."""
    model, dip = trained_prior(device), DipConfig()
    count = 64 if device.type == "cuda" else 2
    y, degradation = degrade(parse_task(RESTORED), test_images(count, device), seeds=range(count))
    case = Case(y, degradation, (count, *SHAPE))
    factories: dict[str, Callable[[], Restorer]] = {
        "dip": lambda: DipRestorer(case, dip),
        "ddpm": lambda: DdpmRestorer(case, model),
    }
    for name, method in HYBRIDS.items():
        options = method()
        if options.restorer_path:
            factories[name] = partial(hybrid_restorer, case, model, options, dip)
    for name, make in factories.items():
        yield Work("restoration", name, "images", count, partial(_restore, make), long=True)


PARTS: Mapping[str, Callable[[torch.device], Iterator[Work]]] = {
    "training": training,
    "dip": fitting,
    "convolutions": convolving,
    "sampling": sampling,
    "restoration": restoring,
}
"""The parts of the benchmark; each function yields the work to measure on a device."""


def _repeat(function: Callable[[], object], times: int) -> None:
    for _ in range(times):
        function()


def _restore(make: Callable[[], Restorer]) -> Tensor:
    restorer = make()
    for _ in restorer:
        pass
    return restorer.images
