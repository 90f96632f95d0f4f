"""Absolute paths in a config, so that a run can be resumed from any folder."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any, TypeVar

import msgspec

from dipddpm.core.config.run import RunConfig
from dipddpm.core.config.tasks import TaskOptions, format_task, parse_task
from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic, home

R = TypeVar("R", bound=RunConfig)
T = TypeVar("T", bound=TaskOptions)

SHIPPED = ("reference", "leaves", "reference-leaves", "reference-50", "reference-500", "reference-5000")
"""The names of the priors that ship with the program, which `prior.run` holds in place of a folder."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
FOLDER = "folder:"
"""The prefix of a data set that is a folder of image files."""


def with_absolute_paths(config: R) -> R:
    """Return the config with each path made absolute, relative to the current folder, and `~` expanded.

    Raises UserError if the current folder no longer exists, and for a file that a task's text can't hold.
    """
    data = config.data
    changes: dict[str, Any] = {
        "data": msgspec.structs.replace(data, dataset=_dataset(data.dataset), directory=absolute(data.directory))
    }
    for name, section in ((name, getattr(config, name)) for name in config.__struct_fields__):
        fields = getattr(section, "__struct_fields__", ())
        if name == "images":
            paths = {key: tuple(map(absolute, getattr(section, key))) for key in ("files", "given", "truth")}
            changes[name] = msgspec.structs.replace(section, **paths)
        elif name == "prior":
            changes[name] = msgspec.structs.replace(section, run=_prior(section.run))
            if "second" in fields:
                changes[name] = msgspec.structs.replace(changes[name], second=_prior(section.second))
            if "others" in fields:
                changes[name] = msgspec.structs.replace(changes[name], others=tuple(map(_prior, section.others)))
        elif name == "picture":
            changes[name] = msgspec.structs.replace(section, out=absolute(section.out))
        elif isinstance(section, TaskOptions):
            changes[name] = _with_absolute_path(section)
        elif "conditioned" in fields:
            changes[name] = msgspec.structs.replace(
                section,
                conditioned=tuple(map(absolute, section.conditioned)),
                tasks=tuple(map(_task, section.tasks)),
                earlier=absolute(section.earlier),
            )
    return msgspec.structs.replace(config, **changes)


def _prior(run: str) -> str:
    return run if run in SHIPPED else absolute(run)


def absolute(path: str) -> str:
    """Return a path as an absolute one; the empty path stays empty. Links are followed only to resolve `..`."""
    # No file has a zero byte in its name. A web address stays as it is, so that its error names it.
    if not path or "\0" in path or _ADDRESS.match(path):
        return path
    try:
        whole = home.expand(path).absolute()
    except FileNotFoundError:
        raise UserError("The current folder no longer exists.", "Change to another folder with cd.") from None
    return str(whole.resolve() if os.pardir in whole.parts else whole)


def _dataset(name: str) -> str:
    if not name.startswith(FOLDER):
        return name
    path = name.removeprefix(FOLDER)
    sized = None if atomic.is_folder(home.expand(path)) else re.fullmatch(r"(.+)(@\d+)", path)
    return FOLDER + (absolute(sized[1]) + sized[2] if sized else absolute(path))


def _with_absolute_path(task: T) -> T:
    if not (option := task.file_option):
        return task
    return msgspec.structs.replace(task, **{option: absolute(getattr(task, option))})


def _task(text: str) -> str:
    task = parse_task(text)
    if (whole := _with_absolute_path(task)) == task:
        return text
    written = format_task(whole)
    with contextlib.suppress(UserError):
        if parse_task(written) == whole:
            return written
    problem = f"The path of a task's file has a comma and an equals sign, which a task can't hold: {whole.file_path()}."
    raise UserError(problem, "Copy the file to another folder.")
