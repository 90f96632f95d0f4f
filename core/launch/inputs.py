"""The check that a resumed run computes with the same images, masks and models as before. Loads no torch.

The log holds a hash of the contents of each of them. A run that went on with others would mix two experiments in one
result, so it is refused; its checkpoint and its results stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.core.events import DataLoaded, Input, MaskLoaded, PriorLoaded
from dipddpm.core.runs import CHECKPOINT_FILE, CONFIG_FILE, EventReader, history, reference
from dipddpm.core.runs.equivalence import comparable_config

UNCHECKED = "An earlier version of the program began this run; it isn't known whether {} has changed since"
"""The warning about inputs whose hashes the log lacks."""
_MOST = 3
"""Largest number of changes that a message names."""


def refuse_changed(folder: Path, now: Sequence[Input]) -> str:
    """Raise UserError if the inputs of a run differ from those that its log names; say what has changed.

    Returns the names of the inputs whose hashes the log of an older version lacks; empty if there are none, and for a
    run without a checkpoint, which starts from the beginning.
    """
    if not _has_begun(folder):
        return ""
    recorded = history(EventReader(folder).read())
    changes: list[str] = []
    unchecked: list[str] = []
    for kind in (DataLoaded, MaskLoaded, PriorLoaded):
        before = [event for event in recorded if isinstance(event, kind)]
        current = [event for event in now if isinstance(event, kind)]
        for old, new in zip(before, current, strict=False):
            changes += _changes(old, new)
        unchecked += map(_name, current[len(before) :])
    if changes:
        more = f", and {len(changes) - _MOST} more" if len(changes) > _MOST else ""
        raise UserError(f"The run began with other data: {', '.join(changes[:_MOST])}{more}.", remedy(folder))
    return ", ".join(unchecked)


@contextlib.contextmanager
def explain_missing(folder: Path) -> Iterator[None]:
    """Within the block, replace the remedy of a UserError, because the run has once begun without this error."""
    try:
        yield
    except UserError as error:
        if not _has_begun(folder):
            raise
        raise UserError(error.problem, f"It was not so when the run began. {remedy(folder)}") from None


def settings(folder: Path) -> dict[str, str]:
    """Return a run's options that affect its results, as text by dotted key; empty if the config can't be read.

    Leaves out the length of the run, which an extension changes.
    """
    try:
        config = configs.load(folder / CONFIG_FILE)
    except UserError:
        return {}
    values = configs.flatten(comparable_config(config))
    return {key: str(value) for key, value in values.items() if key not in {"ddpm.epochs", "dip.iterations"}}


def changed_settings(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return a sentence about the options that were changed in config.toml; empty if none was."""
    changes = [f"{key} was {before[key]} and is {now[key]}" for key in now if before.get(key, now[key]) != now[key]]
    more = f", and {len(changes) - _MOST} more" if len(changes) > _MOST else ""
    return f"config.toml has changed since the checkpoint: {', '.join(changes[:_MOST])}{more}" if changes else ""


def remedy(folder: Path) -> str:
    """Return a sentence that says how to go on with a run whose inputs have changed."""
    return f"Put the old files back and resume the run again, or start a new run with: dipddpm fork {folder.name}"


def _has_begun(folder: Path) -> bool:
    return (folder / CHECKPOINT_FILE).is_file()


def _changes(old: Input, new: Input) -> list[str]:
    """Return a phrase for each difference between the recorded and the current contents of an input."""
    if old.sha256 == new.sha256:
        return _changed_options(old, new)
    match old, new:
        case DataLoaded(), DataLoaded() if old.images != new.images:
            return [f"{_name(new)} had {old.images:,} images then and has {new.images:,} now"]
        case DataLoaded(), DataLoaded() if new.files and len(old.files) == len(new.files):
            pairs = zip(old.files.values(), new.files.items(), strict=True)
            return [f"{name} has other pixels" for before, (name, after) in pairs if before != after]
        case PriorLoaded(), PriorLoaded() if new.run == reference.PRIOR:
            return ["the reference model of this version of the program is another one"]
        case PriorLoaded(), PriorLoaded() if old.run != new.run:
            return [f"the model was {old.run} then and is {new.run} now"]
        case _:
            contents = {DataLoaded: "images or labels", MaskLoaded: "pixels", PriorLoaded: "weights"}[type(new)]
            return [f"{_name(new)} has other {contents}"]


def _changed_options(old: Input, new: Input) -> list[str]:
    """Return a phrase for each option of a model's training that differs, if both events name the options."""
    if not isinstance(old, PriorLoaded) or not isinstance(new, PriorLoaded):
        return []
    changes = ((key, old.options[key], value) for key, value in new.options.items() if key in old.options)
    return [f"ddpm.{key} of {new.run} was {before} and is {now}" for key, before, now in changes if before != now]


def _name(event: Input) -> str:
    match event:
        case DataLoaded():
            return event.source if event.files else " ".join(filter(None, (event.dataset, event.split)))
        case MaskLoaded():
            return f"the mask {event.file}"
        case PriorLoaded():
            return f"the best model of {event.run}"
