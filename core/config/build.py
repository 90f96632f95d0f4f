"""The options of a run, and its config: built from presets and `--set KEY=VALUE`, or read from config.toml."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_origin

import msgspec

from dipddpm.core.config.base import Field, Section, convert, fields
from dipddpm.core.config.hybrid import DEFAULT_HYBRID, HYBRIDS, REMOVED
from dipddpm.core.config.paths import with_absolute_paths
from dipddpm.core.config.presets import PRESETS
from dipddpm.core.config.run import KINDS, VERSION, AnyRun, HybridRun, ImageRun, RunConfig
from dipddpm.core.config.tasks import ESTIMATED, RENAMED, TASKS, Denoise, TaskOptions, parse_task
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.io import atomic, records

SAMPLER = "ddpm.sampler"
MAX_BYTES = 1 << 20
"""Largest size of a config file, in bytes; even a config that lists thousands of image files is smaller."""


def describe(kind: str, method: str | None = None, task: str | None = None) -> list[Field]:
    """Return every option of a kind of run, in the order of config.toml.

    Raises UserError for a kind, method or task that doesn't exist.
    """
    run = _find_kind(kind)
    options = [field for field in fields(run) if field.key != "version"]
    for name, section in _sections(run, method, task).items():
        options += fields(section, prefix=f"{name}.")
        if section in [TASKS[name] for name in ESTIMATED] and issubclass(run, ImageRun):
            options = [_estimated(field) if field.key == "task.noise" else field for field in options]
    return options


def _estimated(noise: Field) -> Field:
    """Return the option for the kind of noise of given pictures, by default unknown."""
    return msgspec.structs.replace(noise, default="unknown")


def _find_kind(kind: str) -> type[RunConfig]:
    """Return the config class of a kind of run. Raises UserError for a kind that doesn't exist."""
    if kind not in KINDS:
        raise UserError(f"There is no kind of run named {kind!r}.", suggest(kind, KINDS))
    return KINDS[kind]


def _sections(run: type[RunConfig], method: str | None, task: str | None) -> dict[str, type[Section]]:
    """Return the tables of a config, by name."""
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
    """Build the complete config of a run.

    `settings` maps dotted keys to values; text is parsed as the option's type (`"0.01"`, `"true"`, and words separated
    by spaces for a list). Settings override the task, the task overrides the preset, and the preset overrides the
    defaults. Paths become absolute. The noise of given pictures is estimated unless something is said about it. A
    preset's eta is for its sampler, and doesn't apply to another one.

    Raises UserError for a kind, method, preset or key that doesn't exist and for an invalid value.
    """
    values: dict[str, Any] = {"kind": kind}
    run = _find_kind(kind)
    wanted: dict[str, Any] = {}
    if preset is not None:
        if preset not in PRESETS[kind]:
            raise UserError(f"{kind} has no preset {preset!r}.", suggest(preset, PRESETS[kind]))
        wanted |= PRESETS[kind][preset]
        if (settings or {}).get(SAMPLER, wanted.get(SAMPLER)) != wanted.get(SAMPLER):
            wanted.pop("ddpm.eta", None)  # the noise that suits the preset's sampler would change another one
    wanted |= settings or {}
    if issubclass(run, HybridRun):
        preferred = wanted.pop("hybrid.method", DEFAULT_HYBRID)
        method = method or preferred
        values["hybrid"] = {"method": method}
    elif method is not None:
        raise UserError(f"{kind} takes no method.", f"Leave --method out, or use: dipddpm run hybrid --method {method}")
    is_given = issubclass(run, ImageRun) or bool(wanted.get("images.given"))
    estimated = is_given and not any(f"task.{key}" in wanted for key in TaskOptions.__struct_fields__)
    if task is None and is_given:
        task = "denoise"
    if task is not None:
        if "task" not in run.__struct_fields__:
            raise UserError(f"{kind} has no task: it trains a model and restores nothing.", "Leave --task out.")
        values["task"] = msgspec.to_builtins(parse_task(task, given=estimated))
    options = describe(kind, method, task)
    known = {field.key: field for field in options}
    for key, value in wanted.items():
        if key not in known:
            raise UserError(f"{kind} has no option {key!r}.", suggest(key, known))
        _put(values, key, _words(known[key], value))
    if "task" in values:
        values["task"].setdefault("name", "denoise")
    return with_absolute_paths(cast(AnyRun, convert(values, AnyRun, options, strict=False)))


def _words(field: Field, value: Any) -> Any:
    """Split the text of a list option into words as a shell does; return any other value unchanged."""
    if get_origin(field.type) is not tuple or not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError:
        raise UserError(f"{field.key} has an unclosed quotation mark.", "Close the quotation.") from None


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
    values[last] = value


def to_toml(config: RunConfig) -> str:
    """Return the complete config as TOML, defaults included."""
    return msgspec.toml.encode(config).decode()


def flatten(config: RunConfig) -> dict[str, Any]:
    """Return the values of a config by dotted key, in the order of config.toml."""
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
        is_wrong = isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError))
        remedy = "Give the path of a config.toml." if is_wrong else "Check its permissions and its disk."
        raise UserError(f"{path} can't be read: {error.strerror}.", remedy) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8.", "Save it as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not a TOML file: {error}.", "Correct the file, or make a new one with --dry-run."
        ) from None
    version = values.get("version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > VERSION:
        problem = f"{path} has format {version}, and this version of the program reads formats up to {VERSION}."
        raise UserError(problem, "Install the version that wrote it, or a newer one.")
    try:
        return from_builtins(values)
    except UserError as error:
        raise UserError(error.problem, f"{error.remedy} Correct it in {path}.") from None


def from_builtins(values: Any) -> AnyRun:
    """Build a config from builtin values without coercing any. Raises UserError, naming the invalid key."""
    kind = _word(values, "kind")
    if kind is None:
        raise UserError("The config has no kind.", "Make a new config with --dry-run.")
    known = describe(kind, _word(values, "hybrid", "method"), _word(values, "task", "name"))
    if isinstance(task := values.get("task"), dict):
        values = values | {"task": {RENAMED.get(key, key): value for key, value in task.items()}}
    if isinstance(hybrid := values.get("hybrid"), dict):
        removed = REMOVED.get(_word(values, "hybrid", "method") or "", set())
        values = values | {"hybrid": {key: value for key, value in hybrid.items() if key not in removed}}
    return cast(AnyRun, convert(values, AnyRun, known))


def _word(values: Any, *path: str) -> str | None:
    """Return the text at this path of keys, or None. `convert` reports a value of another type."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, str) else None
