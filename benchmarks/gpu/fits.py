"""The parts that fit and sample: many small images, one large image, and 5,000 samples."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks import original, works
from benchmarks.draws import steps_for
from benchmarks.gpu.parts import Settings
from benchmarks.gpu.records import Figure, Note
from benchmarks.options import dip_config, resolve
from dipddpm.core.bench import rates, roofline
from dipddpm.core.bench.rates import Rate, Work
from dipddpm.core.bench.speed import trained_prior
from dipddpm.core.config import DipRun
from dipddpm.core.config.ddpm import SamplerName
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import solver

ORIGINAL_ITERATIONS = 600
TEN = 10
LARGE = {True: (64, 8, 2), False: (512, 128, 20)}
"""Side of the large image, channels and iterations, in miniature or not."""
SAMPLES = {True: (4, (3, 5)), False: (5000, (19, 60))}
"""Number of samples, and their evaluations, in miniature or not."""
NO_ORIGINAL = Note("The original code's time needs --original, a checkout of it.", "waiting")


def dip(settings: Settings, until: float) -> Iterator[Figure | Note]:
    """Fit 1,000 images at once to their stops, and ten images by the original code, to its best output."""
    device = resolve(settings.device)
    clock = original.clock_for(device)
    small = settings.miniature
    count, iterations, fitted = (4, 12, 1) if small else (1000, ORIGINAL_ITERATIONS, 2)
    tiny = {"dip.channels": 8, "dip.iterations": 20} if small else {}

    def config(count: int, precision: str) -> DipRun:
        dataset = "fashion-mini" if small else "fashionmnist"
        changes = {**tiny, "dip.precision": precision, "device": settings.device}
        return dip_config(dataset, "test", f"0-{count - 1}", changes, "denoise:sigma=25")

    for precision in ("float32", "bfloat16"):
        stops, elapsed = original.our_fit(config(count, precision), device, clock)
        psnr = sum(stops.psnr) / len(stops.psnr)
        note = f"{psnr:.2f} dB at the stops, {sum(stops.peak) / len(stops.peak):.2f} at the peaks"
        yield Figure(
            name=f"{count:,} images to their stops", value=elapsed.wall, unit="s", precision=precision, note=note
        )
    if not settings.original:
        yield NO_ORIGINAL
        return
    build = original.load(Path(settings.original))
    result = original.compare(build, config(2 if small else TEN, "float32"), fitted, iterations, device)
    note = f"extrapolated from {fitted}, {result.best:.2f} dB at iteration {result.best_at}"
    yield Figure(
        name=f"{result.images} images by the original code",
        value=result.original.wall,
        unit="s",
        precision="float32",
        note=note,
    )


def large(settings: Settings, until: float) -> Iterator[Figure | Note]:
    """Time iterations of the original's setting on one RGB image of 512x512 pixels, by the original and by ours."""
    device = resolve(settings.device)
    side, channels, iterations = LARGE[settings.miniature]
    if settings.original:
        y = torch.rand(1, 3, side, side, device=device)
        build, clock = original.load(Path(settings.original)), original.clock_for(device)
        original.original_fit(build, y, y, 3, 0, clock, scales=5)
        _, elapsed = original.original_fit(build, y, y, iterations, 0, clock, scales=5)
        milliseconds = 1000 * elapsed.wall / iterations
        yield Figure(name="an iteration of the original code", value=milliseconds, unit="ms", precision="float32")
    else:
        yield NO_ORIGINAL
    machine = roofline.measure(device)
    for work in works.fitting_large(device, side, channels, iterations):
        if settings.miniature and "compiled" in work.name:
            continue
        (rate,) = rates.measure([work], machine, repeats=3)
        note = f"{_share(rate)}, first iterations {rate.warm_up:.1f} s"
        name = f"an iteration of ours, {work.name}"
        yield Figure(name=name, value=1000 / rate.per_second, unit="ms", precision=work.precision, note=note)


def samples(settings: Settings, until: float) -> Iterator[Figure | Note]:
    """Draw 5,000 samples from the shipped prior at two costs, eager and with CUDA graphs."""
    device = resolve(settings.device)
    model = trained_prior(device)
    forms = {"eager": model} | ({} if settings.miniature else {"CUDA graphs": model.compiled("reduce-overhead")})
    count, budgets = SAMPLES[settings.miniature]
    machine = roofline.measure(device)
    sampler: SamplerName = "heun"

    def draw(prior: TrainedModel, steps: int) -> int:
        sampling = Sampling(prior.denoiser(), solver(sampler), (count, *prior.shape), steps=steps, device=device)
        for _ in sampling:
            pass
        return sampling.nfe

    for form, prior in forms.items():
        for budget in budgets:
            steps = steps_for(sampler, budget, len(model.schedule))
            counted = None if prior is model else partial(draw, model, steps)
            work = Work("sampling", form, "images", count, partial(draw, prior, steps), counted=counted)
            (rate,) = rates.measure([work], machine, repeats=2)
            name = f"{count:,} samples, {sampler}, {2 * steps - 1} NFE, {form}"
            yield Figure(name=name, value=rate.per_second, unit="images/s", precision="float32", note=_share(rate))


def _share(rate: Rate) -> str:
    return f"{rate.share:.0%} of the roofline"
