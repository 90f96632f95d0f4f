"""Benchmark of stopping rules: the loss of PSNR at a DIP fit's stop, compared with the peak of the whole fit."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from benchmarks import results
from benchmarks.options import Dataset, Device, Images, Split, Threads, dip_config, resolve
from dipddpm.core import config as configs
from dipddpm.core.config import DipRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import StopsCompared
from dipddpm.core.experiments.dip import DipExperiment
from dipddpm.tui.cli.output import print_table

TASKS = (
    "denoise:sigma=15",
    "denoise:sigma=25",
    "denoise:sigma=50",
    "inpaint:missing=0.5",
    "inpaint:missing=0.7",
)


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """The fits of all images in one task with one seed: PSNR in dB at the stops, at the peaks and at the end."""

    task: str
    seed: int
    rule: str
    at: list[int]
    psnr: list[float]
    peak: list[float]
    peak_at: list[int]
    final: list[float]


class _Results(msgspec.Struct):
    """The contents of the output file: all fits of the same images with the same options."""

    protocol: dict[str, Any]
    fits: list[Fit]


class StopSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The results of one task: means over images and seeds; `spread` is half the range of the seeds' mean gaps."""

    task: str
    rule: str
    seeds: int
    at: float
    psnr: float
    peak: float
    final: float
    gap: float
    spread: float
    percentile: float
    """The 95th percentile of the gaps."""


def measure(
    *,
    task: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="A degradation, for example denoise:sigma=25; may be repeated."),
    ] = None,
    images: Images = "0-99",
    split: Split = "test",
    dataset: Dataset = "fashionmnist",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of noise and weights for each task.")] = 3,
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of each fit.")] = 1000,
    threads: Threads = 0,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the numbers (JSON).")] = Path(
        "build/stops.json"
    ),
) -> None:
    """Measure how far the PSNR at DIP's stops is below its peaks, by task.

    Fits that are in the output file are not repeated, so several commands can make one table. The spread is half the
    range of the seeds' mean gaps; 95% of all gaps are below the last number.
    """
    tasks = [configs.format_task(configs.parse_task(each)) for each in task or TASKS]
    config = dip_config(dataset, split, images, {"dip.iterations": iterations, "device": device})
    fitted = load(out, config)
    resolve(device, threads)
    for fit in fits(config, tasks, seeds, list(fitted)):
        fitted.append(fit)
        save(out, config, fitted)
        print(f"{fit.task}, seed {fit.seed}: {rows([fit])[0].gap:.2f} dB below the peak", file=sys.stderr)
    table = [("TASK", "RULE", "SEEDS", "STOP", "PSNR", "PEAK", "FINAL", "GAP", "", "95%")]
    for row in rows(fit for fit in fitted if fit.task in tasks):
        values = (f"{row.at:.0f}", f"{row.psnr:.2f}", f"{row.peak:.2f}", f"{row.final:.2f}", f"{row.gap:.2f}")
        table.append((row.task, row.rule, str(row.seeds), *values, f"±{row.spread:.2f}", f"{row.percentile:.2f}"))
    print_table(list(table))


def protocol(config: DipRun) -> dict[str, Any]:
    """Return the images and options of a fit; fits that share both are summarised together."""
    images: dict[str, Any] = msgspec.to_builtins(config.images)
    return {"data": config.data.dataset, "images": images, "dip": msgspec.to_builtins(config.dip)}


def load(path: Path, config: DipRun) -> list[Fit]:
    """Read fits from a file; return an empty list if there is no file.

    Raises UserError for fits of other images or options, and for a file without fits.
    """
    stored = results.load(path, _Results)
    if stored is None:
        return []
    if stored.protocol != msgspec.json.decode(msgspec.json.encode(protocol(config))):
        problem = f"The file {path} has fits of other images, or with other options."
        raise UserError(problem, "Choose another --out, since such fits can't be compared.")
    return stored.fits


def save(path: Path, config: DipRun, fitted: list[Fit]) -> None:
    """Write the fits to a file. Raises OSError."""
    results.save(path, _Results(protocol(config), fitted))


def fits(config: DipRun, tasks: Sequence[str], seeds: int, known: Sequence[Fit] = ()) -> Iterator[Fit]:
    """Fit the config's images in each task with each seed, except for known fits.

    The fits continue past their stops to the last iteration, so that their peaks are known.
    """
    for seed in range(seeds):
        for task in tasks:
            if not any((fit.task, fit.seed) == (task, seed) for fit in known):
                yield _fit(config, task, seed)


def rows(fitted: Iterable[Fit]) -> list[StopSummary]:
    """Summarise fits by task, in the order of the tasks' first fits."""
    groups: dict[str, list[Fit]] = {}
    for fit in fitted:
        groups.setdefault(fit.task, []).append(fit)
    return [_row(group) for group in groups.values()]


def _row(group: Sequence[Fit]) -> StopSummary:
    gaps = [[peak - psnr for peak, psnr in zip(fit.peak, fit.psnr, strict=True)] for fit in group]
    all_gaps = [gap for seed_gaps in gaps for gap in seed_gaps]
    means = [statistics.mean(seed_gaps) for seed_gaps in gaps]

    def mean(values: Iterable[Sequence[float]]) -> float:
        return statistics.mean(value for seed_values in values for value in seed_values)

    return StopSummary(
        task=group[0].task,
        rule=group[0].rule,
        seeds=len(group),
        at=mean(fit.at for fit in group),
        psnr=mean(fit.psnr for fit in group),
        peak=mean(fit.peak for fit in group),
        final=mean(fit.final for fit in group),
        gap=statistics.mean(all_gaps),
        spread=(max(means) - min(means)) / 2,
        percentile=statistics.quantiles(all_gaps, n=20, method="inclusive")[-1],
    )


def _fit(config: DipRun, task: str, seed: int) -> Fit:
    options = msgspec.structs.replace(config.dip, run_on=True, picture_every=0, measure_every=config.dip.iterations)
    fit_config = msgspec.structs.replace(config, task=configs.parse_task(task), seed=seed, dip=options)
    experiment = DipExperiment.from_config(fit_config, resolve(config.device))
    (compared,) = [item for item in experiment if isinstance(item, StopsCompared)]
    return Fit(
        task=task,
        seed=seed,
        rule=compared.rule,
        at=compared.at,
        psnr=compared.psnr,
        peak=compared.peak,
        peak_at=compared.peak_at,
        final=compared.final,
    )
