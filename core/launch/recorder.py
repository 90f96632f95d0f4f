"""The recorder of an experiment: it logs events, stores payloads and then logs them, and updates the summary."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from pathlib import Path

import torch

from dipddpm.core import events, images
from dipddpm.core.compute import checkpoint, rng
from dipddpm.core.errors import UserError
from dipddpm.core.events import Event, Experiment, Item
from dipddpm.core.export.mirror import TensorboardMirror
from dipddpm.core.io import atomic
from dipddpm.core.launch import inputs
from dipddpm.core.runs import BEST_FILE, CHECKPOINT_FILE, EventLog, EventReader, history, summary

STEP_SECONDS = 0.25
"""Shortest time between two logged `Step` events."""
SUMMARY_SECONDS = 1.0
"""Shortest time between two writes of the summary."""
SMALLEST_SIDE = 112
"""Pictures of smaller images are enlarged by a whole factor until a side has about this many pixels."""
BEST_BEFORE = Path("checkpoints/best-before.safetensors")
"""The best model at the last checkpoint, stored from its replacement by a better model until the next checkpoint.

A run that is killed in between resumes from the checkpoint, and needs the model that was the best at that time.
"""
_LOGGED = "logged"
_GENERATORS = "generators"
_FORMAT = "format"
FORMAT = 2
"""Version of the checkpoint's contents; version 1 also stored which items of a step had been yielded."""


class Recorder:
    """Writer of a run folder; its methods raise OSError if the disk is full.

    Without a log the recorder stores nothing, because rank 0 records the run for all processes.
    """

    def __init__(self, folder: Path, log: EventLog | None, device: torch.device | str = "cpu") -> None:
        self.folder = folder
        self.log = log
        self.device = torch.device(device)
        self.summary = summary.read(folder)
        self.mirror = TensorboardMirror(folder)
        self._step_at = 0.0
        self._summary_at = 0.0

    def record(self, item: Item) -> None:
        """Log one item; the file of a payload is stored before its event is logged."""
        if self.log is None:
            return
        match item:
            case events.Step():
                if time.monotonic() - self._step_at >= STEP_SECONDS:
                    self._step_at = time.monotonic()
                    self._append(item)
            case Event():
                self._append(item)
            case events.BestModel():
                self._store_best(item)
            case events.Pictures():
                self._store_pictures(item)
            case events.Tensors():
                name = f"{item.name}.safetensors"
                sha256 = checkpoint.save(self.folder / name, item.tensors)
                self._append(events.FileStored(file=name, sha256=sha256, step=item.step))
            case events.Document():
                content = item.text.encode()
                atomic.write_atomic(self.folder / item.name, content)
                sha256 = hashlib.sha256(content).hexdigest()
                self._append(events.FileStored(file=item.name, sha256=sha256, step=item.step))
            case _:
                raise TypeError(f"an experiment yielded a {type(item).__name__}")

    def checkpoint(self, experiment: Experiment) -> None:
        """Store a checkpoint; call this only after a `Step`, so that the log ends at the step of the checkpoint."""
        if self.log is None:
            experiment.state_dict()  # rank 0 gathers the state of all processes, so each must take part
            return
        own = {_LOGGED: self.log.size, _GENERATORS: rng.state_dict(self.device), _FORMAT: FORMAT}
        state = {**experiment.state_dict(), **own}
        sha256 = checkpoint.save(self.folder / CHECKPOINT_FILE, state, experiment.network)
        (self.folder / BEST_BEFORE).unlink(missing_ok=True)
        epoch = experiment.epoch
        self._append(events.CheckpointStored(step=experiment.step, epoch=epoch, file=CHECKPOINT_FILE, sha256=sha256))

    def resume_from_checkpoint(self, experiment: Experiment) -> None:
        """Load the last checkpoint into an experiment, and void all later events of the log.

        The model that was the best at the checkpoint is restored. Raises UserError for a damaged checkpoint, and if the
        experiment's inputs differ from those at the checkpoint.
        """
        unchecked = inputs.refuse_changed(self.folder, experiment.inputs)
        log_size = load_checkpoint(self.folder, experiment, self.device)
        if self.log is None:
            return
        self._append(
            events.RunResumed(
                from_step=experiment.step, from_epoch=experiment.epoch, from_offset=log_size, device=str(self.device)
            )
        )
        if unchecked:
            self._append(events.Message(text=inputs.UNCHECKED.format(unchecked), level="warning"))
        stored_best = [e for e in history(EventReader(self.folder).read()) if isinstance(e, events.BestModelStored)]
        before = self.folder / BEST_BEFORE
        with contextlib.suppress(FileNotFoundError):
            if stored_best and checkpoint.digest(before) == stored_best[-1].sha256:
                before.replace(self.folder / BEST_FILE)
            before.unlink(missing_ok=True)

    def _append(self, event: Event) -> None:
        assert self.log is not None
        stamped = self.log.append(event)
        if isinstance(event, events.RunResumed):
            self.summary = summary.rebuild(self.folder)
        else:
            self.summary.fold(stamped)
        self.summary.offset = self.log.size
        if time.monotonic() - self._summary_at >= SUMMARY_SECONDS or isinstance(event, events.ENDS):
            self._summary_at = time.monotonic()
            summary.write(self.folder, self.summary)
        if problem := self.mirror.add(stamped):
            self._append(events.Message(text=problem, level="warning"))

    def _store_best(self, best: events.BestModel) -> None:
        """Store a best model, and save the model that it replaces if the last checkpoint refers to that model."""
        path, before = self.folder / BEST_FILE, self.folder / BEST_BEFORE
        if path.exists() and not before.exists():
            try:
                os.link(path, before)
            except OSError:  # the file system has no hard links
                shutil.copyfile(path, before)
        sha256 = checkpoint.save(path, best.tensors, best.network)
        stored = events.BestModelStored(
            step=best.step, epoch=best.epoch, value=best.value, measure=best.measure, file=BEST_FILE, sha256=sha256
        )
        self._append(stored)

    def _store_pictures(self, pictures: events.Pictures) -> None:
        name = f"{pictures.name}-{pictures.step:06d}.png" if pictures.numbered else f"{pictures.name}.png"
        scale = max(1, SMALLEST_SIDE // min(pictures.images.shape[-2:]))
        images.save_png(
            self.folder / "images" / name, images.grid(pictures.images, pictures.columns, scale=scale, gap=2)
        )
        self._append(
            events.ImageSaved(
                file=f"images/{name}",
                name=pictures.name,
                step=pictures.step,
                title=pictures.title,
                panels=list(pictures.panels),
                columns=pictures.columns,
            )
        )


def load_checkpoint(folder: Path, experiment: Experiment, device: torch.device) -> int:
    """Load the last checkpoint into an experiment, and return the size that the log had at that time.

    Without a checkpoint the experiment starts from the beginning. Raises UserError for a checkpoint that is damaged or
    was stored by another run or another version.
    """
    if not (folder / CHECKPOINT_FILE).exists():
        return 0
    state = checkpoint.load_state(folder / CHECKPOINT_FILE, device)
    if state.pop(_FORMAT, 1) != FORMAT:
        problem = f"{CHECKPOINT_FILE} was stored by another version of this program, and can't be resumed."
        raise UserError(problem, "Resume the run with the version that started it, or fork it to start again.")
    try:
        log_size = int(state.pop(_LOGGED))
        generator_state = state.pop(_GENERATORS)
        experiment.load_state_dict(state)
        rng.load_state_dict(generator_state, device)
    except torch.OutOfMemoryError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        problem = f"{CHECKPOINT_FILE} does not fit the run: {type(error).__name__}."
        raise UserError(problem, "It is damaged or belongs to another run; start the run again.") from error
    # An extended run has a copied log with other offsets; the line of the checkpoint's own event gives the right one.
    digest = checkpoint.digest(folder / CHECKPOINT_FILE)
    stored = [event for event in EventReader(folder).read() if isinstance(event, events.CheckpointStored)]
    return next((event.offset for event in reversed(stored) if event.sha256 == digest), log_size)
