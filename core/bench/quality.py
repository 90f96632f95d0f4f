"""Quality against cost: how good samples are after so many evaluations of the network, by each sampler."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from dipddpm.core.bench import kept
from dipddpm.core.config.ddpm import SamplerName
from dipddpm.core.data import ImageSet
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.errors import UserError
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.samples import evaluate
from dipddpm.core.report.plots import Curve, LinePlot

LONG = 100
"""Settings with more evaluations than this are drawn once: they take as long as all the others together."""


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """The samples of one seed in one setting, and how far they are from the test images."""

    sampler: SamplerName
    steps: int
    nfe: int
    samples: int
    seed: int
    frechet: float
    kernel: float
    seconds: float
    protocol: str
    """Of the Frechet distance; only draws whose protocols differ in the seed alone compare."""

    def fits(self, sampler: SamplerName, steps: int, samples: int, seed: int) -> bool:
        """Whether this is that draw."""
        return (self.sampler, self.steps, self.samples, self.seed) == (sampler, steps, samples, seed)


class _Results(msgspec.Struct):
    """The file: all draws of one model."""

    model: str
    samples: int
    draws: list[Draw]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """All draws of one sampler at one cost: means, and the standard deviations over the seeds, 0 for a single one."""

    sampler: SamplerName
    nfe: int
    seeds: int
    frechet: float
    frechet_std: float
    kernel: float
    kernel_std: float
    seconds: float


def load(path: Path, model: str, samples: int) -> list[Draw]:
    """The draws in a file, none where there is no file; `model` is the digest of the weights that they are of.

    Raises UserError for those of another model or of another number of samples, and for a file that isn't ours.
    """
    found = kept.load(path, _Results)
    if found is None:
        return []
    if (found.model, found.samples) != (model, samples):
        problem = f"{path} holds draws of another model, or of {found.samples:,} samples each."
        raise UserError(problem, "Choose another --out: they don't compare.")
    return found.draws


def save(path: Path, model: str, samples: int, drawn: list[Draw]) -> None:
    """Put the draws into a file. Raises OSError."""
    kept.save(path, _Results(model, samples, drawn))


def steps_for(sampler: SamplerName, nfe: int, timesteps: int) -> int:
    """The steps that take at most so many evaluations, one at least: Heun's take two each, the last one."""
    steps = (nfe + 1) // 2 if sampler == "heun" else nfe
    return max(1, min(steps, timesteps))


def draws(
    model: TrainedModel,
    reference: ImageSet,
    *,
    samplers: Sequence[SamplerName],
    nfe: Sequence[int],
    samples: int,
    seeds: int,
    known: Sequence[Draw] = (),
) -> Iterator[Draw]:
    """Draw and measure each setting with each seed, the cheapest first, but for those that are known already.

    The same seed gives the same starting noise everywhere. A model with classes draws of each in turn. Raises
    UserError for images that can't be measured and for fewer than 128 of them.
    """
    for budget in sorted(nfe):
        for sampler in samplers:
            steps = steps_for(sampler, budget, len(model.schedule))
            for seed in range(seeds if budget <= LONG else 1):
                if not any(draw.fits(sampler, steps, samples, seed) for draw in known):
                    yield _draw(model, reference, sampler, steps=steps, samples=samples, seed=seed)


def settings(drawn: Iterable[Draw]) -> list[Setting]:
    """The draws put together by sampler and cost, in the order of these."""
    groups: dict[tuple[SamplerName, int], list[Draw]] = {}
    for draw in sorted(drawn, key=lambda draw: (draw.sampler, draw.nfe, draw.seed)):
        groups.setdefault((draw.sampler, draw.nfe), []).append(draw)
    return [
        Setting(
            sampler=sampler,
            nfe=nfe,
            seeds=len(group),
            frechet=statistics.mean(draw.frechet for draw in group),
            frechet_std=_deviation([draw.frechet for draw in group]),
            kernel=statistics.mean(draw.kernel for draw in group),
            kernel_std=_deviation([draw.kernel for draw in group]),
            seconds=statistics.mean(draw.seconds for draw in group),
        )
        for (sampler, nfe), group in groups.items()
    ]


def longest_ancestral(found: Sequence[Setting]) -> Setting | None:
    """What all are compared with: the ancestral sampler with the most evaluations; None where it wasn't drawn."""
    return max((s for s in found if s.sampler == "ancestral"), key=lambda s: s.nfe, default=None)


def plot(found: Sequence[Setting], samples: int) -> LinePlot:
    """Frechet distance against evaluations, a curve for each sampler."""
    curves = []
    for sampler in dict.fromkeys(s.sampler for s in found):
        own = [s for s in found if s.sampler == sampler]
        spread = [s.frechet_std for s in own]
        curves.append(Curve(sampler, [s.nfe for s in own], [s.frechet for s in own], spread))
    base = longest_ancestral(found)
    return LinePlot(
        title=f"Sample quality against cost, {samples:,} samples",
        x="evaluations of the network for each image (NFE)",
        y="Frechet distance on our classifier's features",
        curves=curves,
        levels={} if base is None else {f"ancestral, {base.nfe} NFE": base.frechet},
        log_x=True,
        log_y=True,
    )


def _draw(
    model: TrainedModel, reference: ImageSet, sampler: SamplerName, *, steps: int, samples: int, seed: int
) -> Draw:
    import torch

    label = torch.arange(samples, device=model.device) % model.classes if model.classes else None
    chosen = solver(sampler, variance=model.options.variance)
    start = (samples, *model.shape)
    sampling = Sampling(model.denoiser(label=label), chosen, start, steps=steps, seed=seed, device=model.device)
    began = time.perf_counter()
    for _ in sampling:
        pass
    images = to_unit(sampling.xt).clamp(0, 1).cpu()
    seconds = time.perf_counter() - began
    frechet, kernel = evaluate(images, reference, seed=seed, nfe=sampling.nfe)
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
    )


def _deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
