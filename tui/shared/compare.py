"""What tells runs apart: the options in which their configs differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from dipddpm.core.config import AnyRun
from dipddpm.tui.shared.draft import as_text, flatten

IGNORED = {"name", "group", "version"}
ABSENT = "-"


class Difference(NamedTuple):
    """An option, and what each run has it at; `-` where a run has no such option, or no config."""

    key: str
    values: list[str]


def differences(configs: Sequence[AnyRun | None]) -> list[Difference]:
    """The options that are not the same for all of these configs, in the order of config.toml."""
    tables = [flatten(msgspec.to_builtins(config)) if config else {} for config in configs]
    keys = dict.fromkeys(key for table in tables for key in table if key not in IGNORED)
    differing = []
    for key in keys:
        values = [short_text(table[key]) if key in table else ABSENT for table in tables]
        if any(table.get(key) != tables[0].get(key) for table in tables):
            differing.append(Difference(key, values))
    return differing


def short_text(value: Any) -> str:
    """An option's value in a few characters."""
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)
