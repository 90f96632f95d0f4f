"""Runs put together by what sets them apart: the values of some options, and the mean and spread over the rest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from core.config import AnyRun, DipRun, HybridRun, format_task
from core.errors import UserError, suggest
from core.runs import Summary
from core.text import printable
from tui.model.compare import ABSENT, short
from tui.model.draft import flat
from tui.model.groups import natural

LOOSE = {
    "version",
    "name",
    "group",
    "seed",
    "device",
    "threads",
    "processes",
    "checkpoint_seconds",
    "checkpoint_epochs",
}
"""Options that don't make another combination, and one that says only where the data lies."""
RUN = "run"
"""The key by which every run is by itself."""


class Spread(msgspec.Struct, frozen=True):
    """The mean of `n` values and their standard deviation (of the sample; None for a single one)."""

    mean: float
    std: float | None
    n: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """Of the values that there are; None where there is none. What is no number makes the mean none, too."""
    found = [value for value in values if value is not None]
    if not found:
        return None
    if not all(map(math.isfinite, found)):
        return Spread(math.nan, None, len(found))
    return Spread(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))


class Measure(NamedTuple):
    """Something that came of a run: what people call it, and how many digits of it they are told."""

    title: str
    digits: int


OUTCOMES: Mapping[str, Measure] = {
    "psnr": Measure("PSNR", 2),
    "ssim": Measure("SSIM", 3),
    "gain": Measure("gain", 2),
    "best_loss": Measure("best loss", 4),
    "loss": Measure("loss", 4),
    "seconds": Measure("seconds", 1),
}


def outcome(told: Summary, seconds: float | None) -> dict[str, float | None]:
    """What came of a run, by the names of `OUTCOMES`; PSNR and SSIM are those where the stopping rule left it."""
    values = (told.result_psnr, told.ssim, told.gain, told.best_loss, told.loss, seconds)
    return dict(zip(OUTCOMES, values, strict=True))


def written(found: Spread | None, digits: int) -> str:
    """`24.31 ±0.12`; nothing for none."""
    if found is None:
        return ""
    return f"{found.mean:.{digits}f}" + ("" if found.std is None else f" ±{found.std:.{digits}f}")


@dataclass(frozen=True)
class Combination:
    """What some runs have in common: the values of the keys, as text, and the places of the runs."""

    values: tuple[str, ...]
    members: tuple[int, ...]


def combine(tables: Sequence[Mapping[str, str]], keys: Sequence[str]) -> list[Combination]:
    """The runs by the values that they have of these keys, in the order of the values."""
    found: dict[tuple[str, ...], list[int]] = {}
    for place, table in enumerate(tables):
        found.setdefault(tuple(table.get(key, ABSENT) for key in keys), []).append(place)
    return [Combination(values, tuple(found[values])) for values in sorted(found, key=lambda v: list(map(natural, v)))]


def table(run: str, config: AnyRun | None) -> dict[str, str]:
    """The options of a run as text, by dotted key; beside them `run`, `method` and `task`, as people call these."""
    if config is None:
        return {RUN: run}
    values: dict[str, Any] = flat(msgspec.to_builtins(config))
    words = {key: short(value) for key, value in values.items()}
    task = {"task": format_task(config.task)} if isinstance(config, DipRun | HybridRun) else {}
    return {RUN: run, **words, "method": config.method, **task}


def set_apart(tables: Sequence[Mapping[str, str]]) -> list[str]:
    """The options in which the runs differ, but for the seed and what changes no result; as config.toml has them."""
    keys = dict.fromkeys(key for one in tables for key in one)
    aside = {*LOOSE, RUN, "method", "task", "data.directory"}
    return [key for key in keys if key not in aside and len({one.get(key) for one in tables}) > 1]


def find_key(wanted: str, tables: Sequence[Mapping[str, str]]) -> str:
    """The key meant: a whole one, or the last word of a single one. Raises UserError for none or several."""
    known = dict.fromkeys(key for one in tables for key in one)
    if wanted in known:
        return wanted
    ends = [key for key in known if key.rpartition(".")[2] == wanted]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise UserError(f"{printable(wanted)} may be any of {', '.join(ends)}.", "Give the whole key.")
    last_words = {key.rpartition(".")[2] for key in known}
    raise UserError(f"These runs have no option {printable(wanted)!r}.", suggest(wanted, {*known, *last_words}))
