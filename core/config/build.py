"""From defaults to a config: presets, then `--set KEY=VALUE`, then the options that have a name of their own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, cast, get_origin

import msgspec

from dipddpm.core.config.base import Field
from dipddpm.core.config.hybrid import DEFAULT_HYBRID
from dipddpm.core.config.presets import PRESETS
from dipddpm.core.config.run import AnyRun, HybridRun
from dipddpm.core.config.schema import describe, find_kind, section_types
from dipddpm.core.config.tasks import parse_task
from dipddpm.core.config.validation import convert
from dipddpm.core.errors import UserError, suggest


def build(
    kind: str,
    *,
    method: str | None = None,
    preset: str | None = None,
    task: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> AnyRun:
    """The complete config of a run.

    `settings` maps dotted keys to values; text is read as the key's type (`"0.01"`, `"true"`, and words for a list).
    Later beats earlier: defaults, preset, task, settings.

    Raises UserError for a kind, method, preset, key or value that doesn't exist.
    """
    values: dict[str, Any] = {"kind": kind}
    run = find_kind(kind)
    wanted: dict[str, Any] = {}
    if preset is not None:
        if preset not in PRESETS[kind]:
            raise UserError(f"{kind} has no preset {preset!r}.", suggest(preset, PRESETS[kind]))
        wanted |= PRESETS[kind][preset]
    wanted |= settings or {}
    if issubclass(run, HybridRun):
        preferred = wanted.pop("hybrid.method", DEFAULT_HYBRID)
        method = method or preferred
        values["hybrid"] = {"method": method}
    elif method is not None:
        raise UserError(f"{kind} takes no method.", "Leave --method out, or run hybrid.")
    if task is not None:
        if "task" not in section_types(run):
            raise UserError(f"{kind} has no task: it trains a model and restores nothing.", "Leave --task out.")
        values["task"] = msgspec.to_builtins(parse_task(task))
    options = describe(kind, method, task)
    known = {field.key: field for field in options}
    for key, value in wanted.items():
        if key not in known:
            raise UserError(f"{kind} has no option {key!r}.", suggest(key, known))
        _put(values, key, _words(known[key], value))
    if "task" in values:
        values["task"].setdefault("name", "denoise")
    return cast(AnyRun, convert(values, AnyRun, options, strict=False))


def _words(field: Field, value: Any) -> Any:
    """Text for a list, as a shell would take it apart."""
    if get_origin(field.type) is not tuple or not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError:
        raise UserError(f"{field.key} has a quotation mark without its other half.", "Close it.") from None


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
    values[last] = value
