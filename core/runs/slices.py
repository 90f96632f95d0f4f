"""Slices of a head-to-head: a run that adds further images to the board of a finished one. Loads no torch.

Each slice is a run of its own, with its own checkpoint. It begins with the results of the finished run, so that its log
holds the whole board.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from dipddpm.core import config as configs
from dipddpm.core.config import RestoreRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import RestorationMissing, RestorationScored
from dipddpm.core.runs.equivalence import comparable_config
from dipddpm.core.runs.folder import Run
from dipddpm.core.runs.summary import RunState

_MOST = 3
"""Largest number of options that a message names."""


def with_images(run: Run, indices: str) -> RestoreRun:
    """Return the config of a run that adds images, such as 12-23, to the board of a head-to-head.

    Raises UserError if `indices` is no range, and as `earlier_results`.
    """
    match = re.fullmatch(r"(\d{1,6})-(\d{1,6})", indices)
    if not match or int(match[2]) < int(match[1]):
        raise UserError(f"{indices!r} is no range of images.", "Write the first and the last index, such as 12-23.")
    first, last = int(match[1]), int(match[2])
    before = _head_to_head(run)
    restore = msgspec.structs.replace(
        before.restore, first=first, images=last - first + 1, earlier=str(run.folder.absolute())
    )
    config = msgspec.structs.replace(before, restore=restore)
    earlier_results(config)
    return config


def earlier_results(config: RestoreRun) -> list[RestorationScored | RestorationMissing]:
    """Return the results that a run adds its images to: scores and failures; empty if it doesn't add to any.

    Raises UserError if they aren't those of a finished head-to-head with the same options, whose images end where those
    of the run begin.
    """
    if not config.restore.earlier:
        return []
    run = Run(Path(config.restore.earlier))
    if not run.folder.is_dir():
        problem = f"The head-to-head that images are added to doesn't exist: {run.folder}."
        raise UserError(problem, "Put its folder back, or name another one with --to.")
    before = _head_to_head(run)
    state = run.status().state
    if state is not RunState.finished:
        remedy = "Wait for its end." if state.live else f"Resume it first: dipddpm resume {run.id}"
        raise UserError(f"The run {run.id} is {state}, not finished, so no images can be added to it.", remedy)
    if changes := _other_options(before, config):
        problem = f"Added images are restored as the others were, and other options differ: {', '.join(changes)}."
        raise UserError(problem, f"Leave these options as they are in {run.id}.")
    end = before.restore.first + before.restore.images
    if config.restore.first != end:
        problem = f"The images of {run.id} end with {end - 1}, so those to add begin with {end}."
        raise UserError(problem, f"Add {end}-{end + config.restore.images - 1}.")
    return [
        msgspec.structs.replace(event, step=0, time=0.0, offset=0)
        for event in run.events()
        if isinstance(event, RestorationScored) or (isinstance(event, RestorationMissing) and event.failed)
    ]


def _head_to_head(run: Run) -> RestoreRun:
    config = run.config()
    if not isinstance(config, RestoreRun):
        problem = f"{run.id} is a run of the kind {config.kind}, and images can only be added to a head-to-head."
        raise UserError(problem, "Name a run of dipddpm restore with --to.")
    return config


def _other_options(before: RestoreRun, now: RestoreRun) -> list[str]:
    """Return a phrase for each option that affects results and differs, apart from the images."""
    values = []
    for config in (before, now):
        restore = msgspec.structs.replace(config.restore, images=1, first=0, earlier="")
        values.append(configs.flatten(comparable_config(msgspec.structs.replace(config, restore=restore))))
    old, new = values
    changes = [f"{key} was {old[key]} and is {new[key]}" for key in new if old[key] != new[key]]
    more = [f"and {len(changes) - _MOST} more"] if len(changes) > _MOST else []
    return [*changes[:_MOST], *more]
