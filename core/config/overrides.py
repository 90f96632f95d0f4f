"""From defaults to a config: presets, then `--set KEY=VALUE`, then the options that have a name of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from core.config.complaints import complaint
from core.config.hybrid import DEFAULT_HYBRID, HYBRIDS
from core.config.run import KINDS, AnyRun, HybridRun, RunConfig
from core.config.section import Field, Section, fields
from core.config.tasks import Denoise, parse_task
from core.errors import UserError, suggest

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "dip": {
        "fashion": {},
        "quick": {"dip.iterations": 150, "images.indices": "0-3"},
    },
    "ddpm": {
        "tutorial": {},
        "quick": {"data.dataset": "fashion-mini", "ddpm.epochs": 3},
    },
    "hybrid": {
        "published": {},
        "quick": {"data.dataset": "fashion-mini", "ddpm.epochs": 3},
    },
}
"""kind -> preset -> dotted key -> value. The first preset of a kind is what one gets without asking."""


def describe(kind: str, method: str | None = None, task: str | None = None) -> list[Field]:
    """Every option that a run of this kind has, by dotted key, in the order of config.toml."""
    run = _kind(kind)
    found = [field for field in fields(run) if field.key != "version"]
    for name, section in _sections(run, method, task).items():
        found += fields(section, prefix=f"{name}.")
    return found


def build(
    kind: str,
    *,
    method: str | None = None,
    preset: str | None = None,
    task: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> AnyRun:
    """The complete config of a run.

    `settings` maps dotted keys to values; text is read as the key's type (`"0.01"`, `"true"`). Later beats earlier:
    defaults, preset, task, settings. Raises UserError for a kind, method, preset, key or value that doesn't exist.
    """
    values: dict[str, Any] = {"kind": kind}
    run = _kind(kind)
    wanted: dict[str, Any] = {}
    if preset is not None:
        if preset not in PRESETS[kind]:
            raise UserError(f"{kind} has no preset {preset!r}.", suggest(preset, PRESETS[kind]))
        wanted |= PRESETS[kind][preset]
    wanted |= settings or {}
    if issubclass(run, HybridRun):
        values["hybrid"] = {"method": method or DEFAULT_HYBRID}
    elif method is not None:
        raise UserError(f"{kind} takes no method.", "Leave --method out, or run hybrid.")
    if task is not None:
        if "task" not in _section_names(run):
            raise UserError(f"{kind} has no task: it trains a model and restores nothing.", "Leave --task out.")
        values["task"] = msgspec.to_builtins(parse_task(task))
    known = {field.key for field in describe(kind, method, task)}
    for key, value in wanted.items():
        if key not in known:
            raise UserError(f"{kind} has no option {key!r}.", suggest(key, known))
        _put(values, key, value)
    if "task" in values:
        values["task"].setdefault("name", "denoise")
    try:
        return cast(AnyRun, msgspec.convert(values, AnyRun, strict=False))
    except msgspec.ValidationError as error:
        raise complaint(error, describe(kind, method, task)) from None


def _kind(kind: str) -> type[RunConfig]:
    if kind not in KINDS:
        raise UserError(f"There is no kind of run named {kind!r}.", suggest(kind, KINDS))
    return KINDS[kind]


def _section_names(run: type[RunConfig]) -> list[str]:
    return [f.name for f in msgspec.structs.fields(run) if isinstance(f.default, Section)]


def _sections(run: type[RunConfig], method: str | None, task: str | None) -> dict[str, type[Section]]:
    defaults = {f.name: f.default for f in msgspec.structs.fields(run) if isinstance(f.default, Section)}
    sections = {name: type(default) for name, default in defaults.items()}
    if "hybrid" in sections:
        chosen = method or DEFAULT_HYBRID
        if chosen not in HYBRIDS:
            raise UserError(f"There is no hybrid method named {chosen!r}.", suggest(chosen, HYBRIDS))
        sections["hybrid"] = HYBRIDS[chosen]
    if "task" in sections:
        sections["task"] = type(parse_task(task)) if task else Denoise
    return sections


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
    values[last] = value
