"""Stops against peaks: how far the image that a rule picks without the truth is from the best that a fit ever had."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dipddpm.core import config as configs
from dipddpm.core.bench import kept
from dipddpm.core.compute import devices
from dipddpm.core.config import DipRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import StopsCompared

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
    """The file: all fits of the same images with the same options."""

    protocol: dict[str, Any]
    fits: list[Fit]


class StopSummary(msgspec.Struct, frozen=True, kw_only=True):
    """All fits of one task: means over images and seeds, and `spread`, half the range of the seeds' mean gaps."""

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
    """The gap that 95% of the images stay below."""


def protocol(config: DipRun) -> dict[str, Any]:
    """What fits must have in common to be put together: the images and the options of the fit."""
    images: dict[str, Any] = msgspec.to_builtins(config.images)
    return {"data": config.data.dataset, "images": images, "dip": msgspec.to_builtins(config.dip)}


def load(path: Path, config: DipRun) -> list[Fit]:
    """The fits in a file, none where there is no file.

    Raises UserError for those of other images or options, and for a file that isn't ours.
    """
    found = kept.load(path, _Results)
    if found is None:
        return []
    if found.protocol != msgspec.json.decode(msgspec.json.encode(protocol(config))):
        problem = f"{path} holds fits of other images, or with other options."
        raise UserError(problem, "Choose another --out: they don't compare.")
    return found.fits


def save(path: Path, config: DipRun, fitted: list[Fit]) -> None:
    """Put the fits into a file. Raises OSError."""
    kept.save(path, _Results(protocol(config), fitted))


def fits(config: DipRun, tasks: Sequence[str], seeds: int, known: Sequence[Fit] = ()) -> Iterator[Fit]:
    """Fit the config's images in each task with each seed, but for what is known already.

    The fits go on to the last iteration, so that there is a peak to be seen.
    """
    for seed in range(seeds):
        for task in tasks:
            if not any((fit.task, fit.seed) == (task, seed) for fit in known):
                yield _fit(config, task, seed)


def rows(fitted: Iterable[Fit]) -> list[StopSummary]:
    """The fits put together by task, in the order in which the tasks first come."""
    groups: dict[str, list[Fit]] = {}
    for fit in fitted:
        groups.setdefault(fit.task, []).append(fit)
    return [_row(group) for group in groups.values()]


def _row(group: Sequence[Fit]) -> StopSummary:
    gaps = [[peak - psnr for peak, psnr in zip(fit.peak, fit.psnr, strict=True)] for fit in group]
    everything = [gap for some in gaps for gap in some]
    means = [statistics.mean(some) for some in gaps]

    def mean(values: Iterable[Sequence[float]]) -> float:
        return statistics.mean(value for some in values for value in some)

    return StopSummary(
        task=group[0].task,
        rule=group[0].rule,
        seeds=len(group),
        at=mean(fit.at for fit in group),
        psnr=mean(fit.psnr for fit in group),
        peak=mean(fit.peak for fit in group),
        final=mean(fit.final for fit in group),
        gap=statistics.mean(everything),
        spread=(max(means) - min(means)) / 2,
        percentile=statistics.quantiles(everything, n=20, method="inclusive")[-1],
    )


def _fit(config: DipRun, task: str, seed: int) -> Fit:
    from dipddpm.core.experiments.dip import DipExperiment

    options = msgspec.structs.replace(config.dip, run_on=True, picture_every=0, measure_every=config.dip.iterations)
    asked = msgspec.structs.replace(config, task=configs.parse_task(task), seed=seed, dip=options)
    experiment = DipExperiment.from_config(asked, devices.resolve(devices.candidates(config.device)[0]))
    (told,) = [item for item in experiment if isinstance(item, StopsCompared)]
    return Fit(
        task=task,
        seed=seed,
        rule=told.rule,
        at=told.at,
        psnr=told.psnr,
        peak=told.peak,
        peak_at=told.peak_at,
        final=told.final,
    )
