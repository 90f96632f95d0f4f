"""Combinations: runs grouped by the options in which they differ, with the mean and spread of their results."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from dipddpm.core.config import AnyRun, DipRun, HybridRun, flatten, format_task
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.io.sanitize import printable
from dipddpm.core.means import PsnrMean
from dipddpm.tui.shared.draft import as_text
from dipddpm.tui.shared.groups import natural_sort_key

IGNORED_OPTIONS = re.compile(
    r"run|method|task|version|name|group|seed|device|threads|processes|checkpoint_\w+|data\.directory"
)
"""Options that don't distinguish combinations: they change no result, or summarise other options."""
ABSENT = "-"
"""The text for an option that a run doesn't have."""
RUN_KEY = "run"
"""The key whose value differs for every run."""


class Spread(msgspec.Struct, frozen=True, omit_defaults=True):
    """The mean of `n` values and their sample standard deviation (None for a single value)."""

    mean: float
    std: float | None
    n: int
    exact: int = 0
    """The number of exact images, which the mean PSNR leaves out unless all are exact."""


def compute_spread(values: Iterable[float | PsnrMean | None]) -> Spread | None:
    """Return the spread of the values that aren't None, or None. A value that isn't finite makes the mean NaN."""
    known = [value for value in values if value is not None]
    means = [value for value in known if isinstance(value, PsnrMean)]
    exact = sum(mean.exact for mean in means)
    if means and all(mean.value == math.inf for mean in means):
        return Spread(math.inf, None, len(means), exact)
    present = [mean.value for mean in means if mean.value != math.inf]
    present += [value for value in known if not isinstance(value, PsnrMean)]
    if not present:
        return None
    if not all(map(math.isfinite, present)):
        return Spread(math.nan, None, len(present), exact)
    std = statistics.stdev(present) if len(present) > 1 else None
    return Spread(statistics.fmean(present), std, len(present), exact)


OUTCOMES: Mapping[str, tuple[str, int]] = {
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 3),
    "gain": ("gain", 2),
    "predicted": ("predicted PSNR", 1),
    "residual": ("residual", 1),
    "best_loss": ("best loss", 4),
    "loss": ("loss", 4),
    "seconds": ("seconds", 1),
}
"""result of a run -> its title and its decimals. PSNR and SSIM are measured where the stopping rule stopped."""


def format_spread(value: Spread | None, digits: int) -> str:
    """Format a spread, as in `24.31 ±0.12` or `24.31 ±0.12, 2 exact`; empty for None."""
    if value is None:
        return ""
    if value.exact and value.mean == math.inf:
        return "exact"
    spread = "" if value.std is None else f" ±{value.std:.{digits}f}"
    return f"{value.mean:.{digits}f}{spread}" + (f", {value.exact} exact" if value.exact else "")


def combine(tables: Sequence[Mapping[str, str]], keys: Sequence[str]) -> dict[tuple[str, ...], list[int]]:
    """Group the runs' indices by their values of these keys, in the order of the values."""
    indices: dict[tuple[str, ...], list[int]] = {}
    for index, table in enumerate(tables):
        indices.setdefault(tuple(table.get(key, ABSENT) for key in keys), []).append(index)
    return dict(sorted(indices.items(), key=lambda item: list(map(natural_sort_key, item[0]))))


def option_texts(run: str, config: AnyRun | None) -> dict[str, str]:
    """Return the options of a run as text, by dotted key; also `run`, and short forms of `method` and `task`."""
    if config is None:
        return {RUN_KEY: run}
    words = {key: _short_text(value) for key, value in flatten(config).items()}
    task = {"task": format_task(config.task)} if isinstance(config, DipRun | HybridRun) else {}
    return {RUN_KEY: run, **words, "method": config.method, **task}


def differences(configs: Sequence[AnyRun | None]) -> dict[str, list[str]]:
    """Return each config's text for each option that differs, in config.toml's order; `-` if it lacks the option."""
    tables = [flatten(config) if config else {} for config in configs]
    keys = dict.fromkeys(key for table in tables for key in table if key not in {"name", "group", "version"})
    return {
        key: [_short_text(table[key]) if key in table else ABSENT for table in tables]
        for key in keys
        if any(table.get(key) != tables[0].get(key) for table in tables)
    }


def _short_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)


def differing_options(tables: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the options in which the runs differ, in config.toml's order, without the `IGNORED_OPTIONS`."""
    keys = dict.fromkeys(key for table in tables for key in table)
    differing = (key for key in keys if len({table.get(key) for table in tables}) > 1)
    return [key for key in differing if not IGNORED_OPTIONS.fullmatch(key)]


def find_key(wanted: str, tables: Sequence[Mapping[str, str]]) -> str:
    """Return the key given in full or by its last word. Raises UserError if no key or several keys match."""
    known = dict.fromkeys(key for table in tables for key in table)
    if wanted in known:
        return wanted
    matches = [key for key in known if key.rpartition(".")[2] == wanted]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"The option {printable(wanted)} is ambiguous: {', '.join(matches)}.", "Give the full key.")
    remedy = suggest(wanted, {*known, *(key.rpartition(".")[2] for key in known)})
    if not remedy.startswith("Did") and (differing := differing_options(tables)):
        remedy = f"They differ in: {', '.join(differing)}."
    raise UserError(f"These runs have no option {printable(wanted)!r}.", remedy)
