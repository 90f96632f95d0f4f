"""Samples of a model by sampler and cost, measured and stored: the draws of the benchmark of sample quality."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import torch

from benchmarks import results
from dipddpm.core.config import DdpmConfig
from dipddpm.core.config.ddpm import SamplerName
from dipddpm.core.data import ImageSet
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import DEFAULTS, solver
from dipddpm.core.errors import UserError
from dipddpm.core.events import SamplesEvaluated
from dipddpm.core.images import to_unit
from dipddpm.core.io import atomic
from dipddpm.core.metrics.samples import SampleEvaluator, evaluate

LONG = 100
"""NFE above which a setting is drawn with one seed only, since it takes as long as all others together."""
OPTIONS: dict[SamplerName, tuple[str, ...]] = {
    "ddim": ("eta",),
    "dpm++": ("eta",),
    "restart": ("restarts", "restart_steps", "restart_low", "restart_high"),
}
"""The options of samplers that are compared, by the name that they have in a config."""


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """One seed's samples in one setting, and their distances to the test images."""

    sampler: SamplerName
    steps: int
    nfe: int
    samples: int
    seed: int
    frechet: float
    kernel: float
    seconds: float
    protocol: str
    """The measurement of the Frechet distance in words; draws compare only if their protocols differ in the seed."""
    options: dict[str, float] = {}
    """The options that the sampler used, such as eta or restarts."""
    copies: dict[str, float] = {}
    """The shares of suspected copies, by the space of the nearest images; empty if they weren't measured."""

    @property
    def key(self) -> tuple[SamplerName, str, int, int, int]:
        """The sampler with its options, steps, samples and seed, which identify the draw."""
        return self.sampler, text_of(self.options), self.steps, self.samples, self.seed


class _Results(msgspec.Struct):
    """The contents of the output file: all draws of one model."""

    model: str
    samples: int
    draws: list[Draw]


def load(path: Path, model: str, samples: int) -> list[Draw]:
    """Read the draws of the model with this digest from a file; return an empty list if there is no file.

    Raises UserError for draws of another model or number of samples, and for a file without draws.
    """
    stored = results.load(path, _Results)
    if stored is None:
        return []
    if (stored.model, stored.samples) != (model, samples):
        problem = f"The file {path} has draws of another model, or of {stored.samples:,} samples each."
        raise UserError(problem, "Choose another --out, since such draws can't be compared.")
    return stored.draws


def save(path: Path, model: str, samples: int, drawn: list[Draw]) -> None:
    """Write the draws to a file. Raises OSError."""
    results.save(path, _Results(model, samples, drawn))


def write_csv(path: Path, drawn: Sequence[Draw]) -> None:
    """Write a row for each draw. Raises OSError."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    measures = ("frechet", "kernel", "copies in pixels", "copies in features", "seconds")
    writer.writerow(("sampler", "options", "steps", "nfe", "samples", "seed", *measures))
    for d in drawn:
        shares = (d.copies.get("pixels", ""), d.copies.get("features", ""))
        values = (f"{d.frechet:.4f}", f"{d.kernel:.6f}", *shares, f"{d.seconds:.1f}")
        writer.writerow((d.sampler, text_of(d.options), d.steps, d.nfe, d.samples, d.seed, *values))
    atomic.write_atomic(path, stream.getvalue().encode())


def steps_for(sampler: SamplerName, nfe: int, timesteps: int, options: DdpmConfig = DEFAULTS) -> int:
    """Return the most steps with at most `nfe` evaluations; Heun's take two each, except the last.

    It is at least 1, but for 0 where restarts alone take more evaluations.
    """
    if sampler == "restart":
        nfe -= 2 * options.restarts * options.restart_steps
        return max(0, min((nfe + 1) // 2, timesteps))
    steps = (nfe + 1) // 2 if sampler == "heun" else nfe
    return max(1, min(steps, timesteps))


def draws(
    model: TrainedModel,
    reference: ImageSet,
    *,
    samplers: Sequence[SamplerName],
    nfe: Sequence[int],
    samples: int,
    seeds: Sequence[int],
    known: Sequence[Draw] = (),
    training: ImageSet | None = None,
) -> Iterator[Draw]:
    """Draw and measure each setting with each seed, cheapest first, except for known draws.

    The samplers have the options of the model; settings in which restarts don't fit into the evaluations are left out.
    The same seed gives the same starting noise in all settings. A model with classes draws each class equally often.
    Suspected copies of `training` are measured if it is given. Raises UserError for images that can't be measured and
    for fewer than 128 images.
    """
    drawn = {draw.key for draw in known}
    for budget in sorted(nfe):
        for sampler in samplers:
            options = options_of(model.options, sampler)
            steps = steps_for(sampler, budget, len(model.schedule), model.options)
            for seed in seeds if budget <= LONG else seeds[:1]:
                if steps and (sampler, text_of(options), steps, samples, seed) not in drawn:
                    draw = _draw(model, reference, training, sampler, steps=steps, samples=samples, seed=seed)
                    yield msgspec.structs.replace(draw, options=options)


def options_of(options: DdpmConfig, sampler: SamplerName) -> dict[str, float]:
    """Return the options that this sampler uses, but for those with which it is deterministic."""
    values = {name: getattr(options, name) for name in OPTIONS.get(sampler, ())}
    return {name: value for name, value in values.items() if (name, value) != ("eta", 0)}


def text_of(options: Mapping[str, float]) -> str:
    """Return options as text, such as `eta=1`, or `restarts=10, ...`."""
    return ", ".join(f"{name}={value:g}" for name, value in options.items())


def _draw(
    model: TrainedModel,
    reference: ImageSet,
    training: ImageSet | None,
    sampler: SamplerName,
    *,
    steps: int,
    samples: int,
    seed: int,
) -> Draw:
    label = torch.arange(samples, device=model.device) % model.classes if model.classes else None
    method, start = solver(sampler, model.options), (samples, *model.shape)
    sampling = Sampling(model.denoiser(label=label), method, start, steps=steps, seed=seed, device=model.device)
    began = time.perf_counter()
    for _ in sampling:
        pass
    images = to_unit(sampling.xt).clamp(0, 1).cpu()
    seconds = time.perf_counter() - began
    if training is None:
        values = list(evaluate(images, reference, seed=seed, nfe=sampling.nfe))
    else:
        items = SampleEvaluator(training, reference)(images, seed=seed, nfe=sampling.nfe)
        values = [item for item in items if isinstance(item, SamplesEvaluated)]
    frechet, kernel, *copies = values
    return Draw(
        sampler=sampler,
        steps=steps,
        nfe=sampling.nfe,
        samples=samples,
        seed=seed,
        frechet=frechet.value,
        kernel=kernel.value,
        seconds=seconds,
        protocol=frechet.protocol,
        copies={event.measure.removeprefix("Suspected copies, in "): event.value for event in copies},
    )
