"""Benchmark of sample quality against cost: distances to test images, by sampler and network evaluations (NFE)."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, cast, get_args

import msgspec
import torch
import typer

from benchmarks import results
from benchmarks.options import Device, Out, dataset_root, ddpm_config, resolve
from dipddpm.core import data
from dipddpm.core.compute import checkpoint
from dipddpm.core.config.ddpm import MIN_EVALUATED, SamplerName
from dipddpm.core.data import ImageSet
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.samples import evaluate
from dipddpm.core.report import plots
from dipddpm.core.report.plots import Curve, LinePlot
from dipddpm.core.runs import BEST_FILE
from dipddpm.tui.cli.options import RunArgument, RunsDir, find_run
from dipddpm.tui.cli.output import print_table

LONG = 100
"""NFE above which a setting is drawn with one seed only, since it takes as long as all others together."""


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

    @property
    def key(self) -> tuple[SamplerName, int, int, int]:
        """The sampler, steps, samples and seed, which identify the draw."""
        return self.sampler, self.steps, self.samples, self.seed


class _Results(msgspec.Struct):
    """The contents of the output file: all draws of one model."""

    model: str
    samples: int
    draws: list[Draw]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The results of one sampler at one cost: means and standard deviations over seeds (0 for a single seed)."""

    sampler: SamplerName
    nfe: int
    seeds: int
    frechet: float
    frechet_std: float
    kernel: float
    kernel_std: float
    seconds: float


def measure(
    run: RunArgument = "reference",
    *,
    nfe: Annotated[str, typer.Option(help="Network evaluations per image, separated by commas.")] = "5,10,20,50",
    samplers: Annotated[str, typer.Option(help="Samplers, separated by commas.")] = ",".join(get_args(SamplerName)),
    n: Annotated[int, typer.Option("--n", "-n", min=MIN_EVALUATED, help="Samples for each setting and seed.")] = 1000,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds for each setting; above 100 NFE only one is used.")] = 3,
    out: Out = Path("build/quality"),
    device: Device = "auto",
    runs_dir: RunsDir = None,
) -> None:
    """Measure the quality of samples by sampler and NFE.

    Quality is the Frechet and the kernel distance to the test images; spreads are standard deviations over the seeds.
    Draws that are in the output file are not repeated, so several commands can make one table. The model must be of
    28x28 grey images.
    """
    chosen, budgets = _samplers(samplers), _budgets(nfe)
    source = find_run(run, runs_dir)
    config = ddpm_config(source)
    model = TrainedModel.of_run(source.folder, resolve(device))
    digest = checkpoint.digest(source.folder / BEST_FILE)
    drawn = load(out / "quality.json", digest, n)
    reference = data.load(config.data.dataset, "test", root=dataset_root(config))
    for draw in draws(model, reference, samplers=chosen, nfe=budgets, samples=n, seeds=seeds, known=list(drawn)):
        drawn.append(draw)
        save(out / "quality.json", digest, n, drawn)
        print(f"{draw.sampler}, {draw.nfe} NFE, seed {draw.seed}: {draw.frechet:.4f}", file=sys.stderr)
    rows = settings(drawn)
    plots.save(plot(rows, n), out / "quality.png")
    baseline = longest_ancestral(rows)
    against = "" if baseline is None else f"RATIO TO ANCESTRAL, {baseline.nfe}"
    table = [("SAMPLER", "NFE", "SEEDS", "FRECHET", "", "KERNEL", "", "SECONDS", against)]
    for s in rows:
        spreads = (f"±{s.frechet_std:.4f}", f"±{s.kernel_std:.5f}") if s.seeds > 1 else ("", "")
        frechet, kernel = (f"{s.frechet:.4f}", spreads[0]), (f"{s.kernel:.5f}", spreads[1])
        share = "" if baseline is None else f"{s.frechet / baseline.frechet:.3f}"
        table.append((s.sampler, str(s.nfe), str(s.seeds), *frechet, *kernel, f"{s.seconds:.1f}", share))
    print_table(list(table))
    print(drawn[0].protocol)


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


def steps_for(sampler: SamplerName, nfe: int, timesteps: int) -> int:
    """Return the most steps with at most `nfe` evaluations, at least 1; Heun's take two each, except the last."""
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
    """Draw and measure each setting with each seed, cheapest first, except for known draws.

    The same seed gives the same starting noise in all settings. A model with classes draws each class equally often.
    Raises UserError for images that can't be measured and for fewer than 128 images.
    """
    drawn = {draw.key for draw in known}
    for budget in sorted(nfe):
        for sampler in samplers:
            steps = steps_for(sampler, budget, len(model.schedule))
            for seed in range(seeds if budget <= LONG else 1):
                if (sampler, steps, samples, seed) not in drawn:
                    yield _draw(model, reference, sampler, steps=steps, samples=samples, seed=seed)


def settings(drawn: Iterable[Draw]) -> list[Setting]:
    """Summarise draws by sampler and cost, sorted by both."""
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


def longest_ancestral(rows: Sequence[Setting]) -> Setting | None:
    """Return the baseline, the ancestral sampler with the most evaluations; None if it wasn't drawn."""
    return max((s for s in rows if s.sampler == "ancestral"), key=lambda s: s.nfe, default=None)


def plot(rows: Sequence[Setting], samples: int) -> LinePlot:
    """Plot Frechet distance against evaluations, with a curve for each sampler."""
    curves = []
    for sampler in dict.fromkeys(s.sampler for s in rows):
        points = [s for s in rows if s.sampler == sampler]
        spread = [s.frechet_std for s in points]
        curves.append(Curve(sampler, [s.nfe for s in points], [s.frechet for s in points], spread))
    base = longest_ancestral(rows)
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
    label = torch.arange(samples, device=model.device) % model.classes if model.classes else None
    method = solver(sampler, variance=model.options.variance)
    start = (samples, *model.shape)
    sampling = Sampling(model.denoiser(label=label), method, start, steps=steps, seed=seed, device=model.device)
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


def _samplers(text: str) -> list[SamplerName]:
    known = get_args(SamplerName)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UserError(f"There is no sampler named {name!r}.", suggest(name, known))
    return cast(list[SamplerName], names)


def _budgets(text: str) -> list[int]:
    budgets = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in budgets):
        raise UserError(f"{text!r} is not a list of numbers of evaluations.", "Write --nfe as 5,10,20,50.")
    return [int(part) for part in budgets]


def _deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
