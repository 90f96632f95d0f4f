"""The check that a resumed run computes with the same images, masks and models as before. Loads no torch.

The log holds a hash of the contents of each of them. A run that went on with others would mix two experiments in one
result, so it is refused; its checkpoint and its results stay as they are.

To compare a folder of images, all of them must be read. `refuse_changed_folder` does that in a process of its own, and
only if a file of the folder has changed since the run began: `python -m dipddpm.core.launch.inputs FOLDER`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from dipddpm.core import config as configs
from dipddpm.core import registry
from dipddpm.core.data import folder as image_folder
from dipddpm.core.errors import UserError
from dipddpm.core.events import DataLoaded, Input, KernelLoaded, MaskLoaded, PriorLoaded
from dipddpm.core.runs import CHECKPOINT_FILE, CONFIG_FILE, EventReader, RunState, history, reference, summary
from dipddpm.core.runs.environment import python_module
from dipddpm.core.runs.equivalence import comparable_config

Hashes: TypeAlias = frozenset[tuple[str, str, str]]
"""The data sets of a run: the name, the split and the hash of each."""
UNCHECKED = "An earlier version of the program began this run; it isn't known whether {} has changed since"
"""The warning about inputs whose hashes the log lacks."""
COMPARING = "Comparing the images with those that the run began with ..."
"""The notice about a comparison that takes long."""
_NOTICE_SECONDS = 1.0
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
    for kind in (DataLoaded, MaskLoaded, KernelLoaded, PriorLoaded):
        before = [event for event in recorded if isinstance(event, kind)]
        current = [event for event in now if isinstance(event, kind)]
        for old, new in zip(before, current, strict=False):
            changes += _changes(old, new)
        unchecked += map(_name, current[len(before) :])
    if changes:
        more = f", and {len(changes) - _MOST} more" if len(changes) > _MOST else ""
        raise UserError(f"The run began with other data: {', '.join(changes[:_MOST])}{more}.", remedy(folder))
    return ", ".join(unchecked)


def refuse_changed_folder(
    folder: Path, compared: set[Hashes] | None = None, notify: Callable[[str], object] = lambda _: None
) -> None:
    """Raise UserError if the images of a run's `folder:` data set differ from those that its log names.

    `compared` collects the images that haven't changed; a further run on the same ones isn't compared again.
    `notify` is called with `COMPARING`, in another thread, if the comparison takes longer than a second.

    The time stamps of the files decide whether the images are compared. They can miss a change, such as another disk at
    the same path, but the worker compares the images again. An error in the process is left to the worker, too.
    """
    recorded = history(EventReader(folder).read())
    loaded = [event for event in recorded if isinstance(event, DataLoaded)]
    began = min((event.time for event in recorded if event.time), default=0.0)
    sources = {event.source for event in loaded if event.dataset.startswith(image_folder.PREFIX)}
    hashes = frozenset((event.dataset, event.split, event.sha256) for event in loaded)
    if compared is not None and hashes in compared:
        return
    with explain_missing(folder):
        dataset = configs.load(folder / CONFIG_FILE).data.dataset  # its path may have been changed by hand
        if not any(image_folder.may_have_changed(dataset, source, began) for source in sources):
            return
    command, environment = python_module("dipddpm.core.launch.inputs", str(folder)), {"CUDA_VISIBLE_DEVICES": ""}
    with _notifying(notify):
        result = subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)
    with contextlib.suppress(msgspec.MsgspecError):
        raise UserError(*msgspec.json.decode(result.stdout, type=tuple[str, str]))
    if compared is not None:
        compared.add(hashes)


@contextlib.contextmanager
def _notifying(notify: Callable[[str], object]) -> Iterator[None]:
    """Call `notify` once if the block takes longer than `_NOTICE_SECONDS`."""
    timer = threading.Timer(_NOTICE_SECONDS, notify, [COMPARING])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def main(folder: Path) -> None:
    """Compare a run's inputs with those that its log names; print the difference as JSON: the problem, the remedy."""
    try:
        config = configs.load(folder / CONFIG_FILE)
        experiment_class = registry.resolve(configs.experiment_path(config))
        with explain_missing(folder):
            experiment = experiment_class.from_config(config, "cpu")
        refuse_changed(folder, experiment.inputs)
    except UserError as error:
        print(msgspec.json.encode((error.problem, error.remedy)).decode())


@contextlib.contextmanager
def explain_missing(folder: Path) -> Iterator[None]:
    """Within the block, replace the remedy of a UserError, because the run has once begun without this error."""
    try:
        yield
    except UserError as error:
        if not _has_begun(folder):
            raise
        raise UserError(error.problem, f"This was different when the run began. {remedy(folder)}") from None


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
    return (folder / CHECKPOINT_FILE).is_file() or summary.read(folder).phase is RunState.finished


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
        case PriorLoaded(), PriorLoaded() if new.run == old.run and new.run in reference.RUNS.values():
            return ["the reference model of this version of the program is another one"]
        case PriorLoaded(), PriorLoaded() if old.run != new.run:
            return [f"the model was {old.run} then and is {new.run} now"]
        case _:
            contents = {DataLoaded: "images or labels", MaskLoaded: "pixels", PriorLoaded: "weights"}
            return [f"{_name(new)} has other {contents.get(type(new), 'values')}"]


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
        case KernelLoaded():
            return f"the kernel {event.file}"
        case PriorLoaded():
            return f"the best model of {event.run}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
