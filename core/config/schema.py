"""Every option that a run can have, as forms, help pages and complaints need to know it."""

from __future__ import annotations

import msgspec

from dipddpm.core.config.base import Field, Section, fields
from dipddpm.core.config.hybrid import DEFAULT_HYBRID, HYBRIDS
from dipddpm.core.config.run import KINDS, RunConfig
from dipddpm.core.config.tasks import Denoise, parse_task
from dipddpm.core.errors import UserError, suggest


def describe(kind: str, method: str | None = None, task: str | None = None) -> list[Field]:
    """Every option that a run of this kind has, by dotted key, in the order of config.toml.

    Raises UserError for a kind, method or task that doesn't exist.
    """
    run = find_kind(kind)
    options = [field for field in fields(run) if field.key != "version"]
    for name, section in _sections(run, method, task).items():
        options += fields(section, prefix=f"{name}.")
    return options


def find_kind(kind: str) -> type[RunConfig]:
    """The config of a kind. Raises UserError where there is no such kind."""
    if kind not in KINDS:
        raise UserError(f"There is no kind of run named {kind!r}.", suggest(kind, KINDS))
    return KINDS[kind]


def section_types(run: type[RunConfig]) -> dict[str, type[Section]]:
    """The tables of a kind's config, by name, as they are unless another method or task is chosen."""
    return {f.name: type(f.default) for f in msgspec.structs.fields(run) if isinstance(f.default, Section)}


def _sections(run: type[RunConfig], method: str | None, task: str | None) -> dict[str, type[Section]]:
    sections = section_types(run)
    if "hybrid" in sections:
        chosen = method or DEFAULT_HYBRID
        if chosen not in HYBRIDS:
            raise UserError(f"There is no hybrid method named {chosen!r}.", suggest(chosen, HYBRIDS))
        sections["hybrid"] = HYBRIDS[chosen]
    if "task" in sections:
        sections["task"] = type(parse_task(task)) if task else Denoise
    return sections
