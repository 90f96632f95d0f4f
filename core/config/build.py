"""The options that a run can have, and its config built from presets and `--set KEY=VALUE` or read from config.toml."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_origin

import msgspec

from dipddpm.core.config.base import Field, Section, convert, fields
from dipddpm.core.config.hybrid import DEFAULT_HYBRID, HYBRIDS
from dipddpm.core.config.presets import PRESETS
from dipddpm.core.config.run import KINDS, AnyRun, HybridRun, RunConfig
from dipddpm.core.config.tasks import Denoise, parse_task
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.io import atomic, records

MAX_BYTES = 1 << 20
"""More is no config: the longest names some thousand image files."""


def describe(kind: str, method: str | None = None, task: str | None = None) -> list[Field]:
    """Every option of a kind of run, in the order of config.toml. Raises UserError for no such kind, method or task."""
    run = _find_kind(kind)
    options = [field for field in fields(run) if field.key != "version"]
    for name, section in _sections(run, method, task).items():
        options += fields(section, prefix=f"{name}.")
    return options


def _find_kind(kind: str) -> type[RunConfig]:
    """The config of a kind. Raises UserError where there is no such kind."""
    if kind not in KINDS:
        raise UserError(f"There is no kind of run named {kind!r}.", suggest(kind, KINDS))
    return KINDS[kind]


def _sections(run: type[RunConfig], method: str | None, task: str | None) -> dict[str, type[Section]]:
    """The tables of a kind's config, by name."""
    sections = {f.name: type(f.default) for f in msgspec.structs.fields(run) if isinstance(f.default, Section)}
    if "hybrid" in sections:
        chosen = method or DEFAULT_HYBRID
        if chosen not in HYBRIDS:
            raise UserError(f"There is no hybrid method named {chosen!r}.", suggest(chosen, HYBRIDS))
        sections["hybrid"] = HYBRIDS[chosen]
    if "task" in sections:
        sections["task"] = type(parse_task(task)) if task else Denoise
    return sections


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
    run = _find_kind(kind)
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
        if "task" not in run.__struct_fields__:
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


def to_toml(config: RunConfig) -> str:
    """The complete config, defaults included."""
    return msgspec.toml.encode(config).decode()


def flatten(config: RunConfig) -> dict[str, Any]:
    """The values of a config by dotted key, in the order of config.toml."""
    flat: dict[str, Any] = {}
    for key, value in msgspec.to_builtins(config).items():
        is_table = isinstance(value, dict)
        flat |= {f"{key}.{name}": each for name, each in value.items()} if is_table else {key: value}
    return flat


def load(path: Path) -> AnyRun:
    """Read a config.toml. Raises UserError for a file that can't be read, isn't TOML or doesn't fit the types."""
    try:
        values = records.load_toml(atomic.read(path, MAX_BYTES), object)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.", "Give the path of a config.toml.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not a TOML file: {error}.", "Mend the file, or take a fresh one from --dry-run."
        ) from None
    return from_builtins(values)


def from_builtins(values: Any) -> AnyRun:
    """Check plain values against the types, coercing none. Raises UserError naming the key at fault."""
    kind = _word(values, "kind")
    if kind is None:
        raise UserError("The config has no kind.", "Take a fresh one from --dry-run.")
    known = describe(kind, _word(values, "hybrid", "method"), _word(values, "task", "name"))
    return cast(AnyRun, convert(values, AnyRun, known))


def _word(values: Any, *path: str) -> str | None:
    """The word that stands there, or None; what isn't text is left to the types to complain of."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, str) else None
