"""Benchmark of sample quality against cost: distances to test images, by sampler and network evaluations (NFE)."""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import msgspec
import typer

from benchmarks import draws
from benchmarks.draws import Draw
from benchmarks.options import Device, Out, dataset_root, ddpm_config, resolve
from dipddpm.core import config as configs
from dipddpm.core import data
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DdpmRun
from dipddpm.core.config.ddpm import MIN_EVALUATED, SamplerName
from dipddpm.core.data.sources import load_training
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.report import plots
from dipddpm.core.report.plots import Curve, LinePlot
from dipddpm.core.runs import BEST_FILE
from dipddpm.tui.cli.options import RunArgument, RunsDir, find_run
from dipddpm.tui.cli.output import print_table


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The results of one sampler at one cost: means and standard deviations over seeds (0 for a single seed)."""

    sampler: SamplerName
    options: str
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
    first_seed: Annotated[int, typer.Option(min=0, help="The first seed; settings are chosen on others.")] = 0,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option of the samplers, such as restarts=5; repeatable."),
    ] = None,
    copies: Annotated[bool, typer.Option("--copies", help="Measure the share of suspected copies too.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the network first.")] = False,
    out: Out = Path("build/quality"),
    device: Device = "auto",
    runs_dir: RunsDir = None,
) -> None:
    """Measure the quality of samples by sampler and NFE.

    Quality is the Frechet and the kernel distance to the test images; spreads are standard deviations over the seeds.
    Draws that are in the output file are not repeated, so several commands can make one table, with other options or
    seeds. The table is written as quality.csv too. The model must be of 28x28 grey images.
    """
    chosen, budgets, options = _samplers(samplers), _budgets(nfe), _options(given or [])
    source = find_run(run, runs_dir)
    config = ddpm_config(source)
    model = TrainedModel.of_run(source.folder, resolve(device))
    model = model.compiled() if compiled else model
    model = replace(model, options=msgspec.structs.replace(model.options, **options))
    digest = checkpoint.digest(source.folder / BEST_FILE)
    drawn = draws.load(out / "quality.json", digest, n)
    reference = data.load(config.data.dataset, "test", root=dataset_root(config))
    training = load_training(config.data, held_out=config.ddpm.hold_out)[0] if copies else None
    todo = draws.draws(
        model,
        reference,
        samplers=chosen,
        nfe=budgets,
        samples=n,
        seeds=range(first_seed, first_seed + seeds),
        known=list(drawn),
        training=training,
    )
    for draw in todo:
        drawn.append(draw)
        draws.save(out / "quality.json", digest, n, drawn)
        print(f"{draw.sampler}, {draw.nfe} NFE, seed {draw.seed}: {draw.frechet:.4f}", file=sys.stderr)
    rows = settings(drawn)
    draws.write_csv(out / "quality.csv", drawn)
    plots.save(plot(rows, n), out / "quality.png")
    baseline = longest_ancestral(rows)
    against = "" if baseline is None else f"RATIO TO ANCESTRAL, {baseline.nfe}"
    table = [("SAMPLER", "OPTIONS", "NFE", "SEEDS", "FRECHET", "", "KERNEL", "", "SECONDS", against)]
    for s in rows:
        spreads = (f"±{s.frechet_std:.4f}", f"±{s.kernel_std:.5f}") if s.seeds > 1 else ("", "")
        frechet, kernel = (f"{s.frechet:.4f}", spreads[0]), (f"{s.kernel:.5f}", spreads[1])
        share = "" if baseline is None else f"{s.frechet / baseline.frechet:.3f}"
        table.append((s.sampler, s.options, str(s.nfe), str(s.seeds), *frechet, *kernel, f"{s.seconds:.1f}", share))
    print_table(list(table))
    print(drawn[0].protocol)


def settings(drawn: Iterable[Draw]) -> list[Setting]:
    """Summarise draws by sampler, options and cost, sorted by all three."""
    groups: dict[tuple[SamplerName, str, int], list[Draw]] = {}
    for draw in sorted(drawn, key=lambda draw: (draw.sampler, draws.text_of(draw.options), draw.nfe, draw.seed)):
        groups.setdefault((draw.sampler, draws.text_of(draw.options), draw.nfe), []).append(draw)
    return [
        Setting(
            sampler=sampler,
            options=options,
            nfe=nfe,
            seeds=len(group),
            frechet=statistics.mean(draw.frechet for draw in group),
            frechet_std=_deviation([draw.frechet for draw in group]),
            kernel=statistics.mean(draw.kernel for draw in group),
            kernel_std=_deviation([draw.kernel for draw in group]),
            seconds=statistics.mean(draw.seconds for draw in group),
        )
        for (sampler, options, nfe), group in groups.items()
    ]


def longest_ancestral(rows: Sequence[Setting]) -> Setting | None:
    """Return the baseline, the ancestral sampler with the most evaluations; None if it wasn't drawn."""
    return max((s for s in rows if s.sampler == "ancestral"), key=lambda s: s.nfe, default=None)


def plot(rows: Sequence[Setting], samples: int) -> LinePlot:
    """Plot Frechet distance against evaluations, with a curve for each sampler and its options but `restarts`."""
    curves = []
    names = [" ".join(filter(None, (s.sampler, re.sub(r"restarts=\d+, |restart_", "", s.options)))) for s in rows]
    for curve in dict.fromkeys(names):
        points = sorted((s for s, name in zip(rows, names, strict=True) if name == curve), key=lambda s: s.nfe)
        spread = [s.frechet_std for s in points] if any(s.seeds > 1 for s in points) else []
        curves.append(Curve(curve, [s.nfe for s in points], [s.frechet for s in points], spread))
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


def _options(given: list[str]) -> dict[str, Any]:
    """Return the values of samplers' options. Raises UserError for other options and for values out of bounds."""
    values = dict(text.partition("=")[::2] for text in given)
    known = sorted({name for names in draws.OPTIONS.values() for name in names})
    for name in values:
        if name not in known:
            raise UserError(f"There is no option of samplers named {name!r}.", suggest(name, known))
    config = configs.build("ddpm", settings={f"ddpm.{name}": value for name, value in values.items()})
    assert isinstance(config, DdpmRun)
    return {name: getattr(config.ddpm, name) for name in values}


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
