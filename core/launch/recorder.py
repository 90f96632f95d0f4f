"""What an experiment yields, put on disk: events appended, payloads stored and then told of, the summary kept fresh."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import torch

from dipddpm.core import events, images
from dipddpm.core.compute import checkpoint
from dipddpm.core.events import BestModel, Document, Event, Experiment, FileStored, Item, Pictures, Step, Tensors
from dipddpm.core.export.mirror import TensorboardMirror
from dipddpm.core.io import atomic
from dipddpm.core.launch import resume
from dipddpm.core.runs import EventLog, summary

STEP_SECONDS = 0.25
SUMMARY_SECONDS = 1.0
SMALLEST_SIDE = 112
"""Pictures of smaller images are enlarged, pixel by pixel, until a side has about this many."""


class Recorder:
    """The writing end of a run folder; raises OSError when the disk takes no more."""

    def __init__(self, folder: Path, log: EventLog, device: torch.device | str = "cpu") -> None:
        self.folder = folder
        self.log = log
        self.device = torch.device(device)
        self.summary = summary.read(folder)
        self.mirror = TensorboardMirror(folder)
        self._step_at = 0.0
        self._summary_at = 0.0

    def record(self, item: Item) -> None:
        """Store one item. A best model's event is written once its file is safely on disk."""
        match item:
            case Step():
                self._record_step(item)
            case Event():
                self._append(item)
            case BestModel():
                self._store_best(item)
            case Pictures():
                self._store_pictures(item)
            case Tensors():
                stored = checkpoint.save(self.folder / f"{item.name}.safetensors", item.tensors)
                self._append(FileStored(file=self._relative(stored.path), sha256=stored.sha256, step=item.step))
            case Document():
                content = item.text.encode()
                atomic.write_atomic(self.folder / item.name, content)
                digest = hashlib.sha256(content).hexdigest()
                self._append(FileStored(file=item.name, sha256=digest, step=item.step))
            case _:
                raise TypeError(f"an experiment yielded a {type(item).__name__}")

    def checkpoint(self, experiment: Experiment) -> None:
        """Store all that resuming needs; to be called after a `Step`, so that the log ends where the state stands."""
        stored = resume.store(self.folder, experiment, self.device, self.log.size)
        self._append(
            events.CheckpointStored(
                step=experiment.step, epoch=experiment.epoch, file=self._relative(stored.path), sha256=stored.sha256
            )
        )

    def resume_from_checkpoint(self, experiment: Experiment) -> None:
        """Bring an experiment to where its last checkpoint was made, and void what the log tells beyond that.

        Raises UserError for a checkpoint that is damaged.
        """
        log_size = resume.load(self.folder, experiment, self.device)
        self._append(
            events.RunResumed(
                from_step=experiment.step, from_epoch=experiment.epoch, from_offset=log_size, device=str(self.device)
            )
        )
        resume.restore_best(self.folder)

    def flush(self) -> None:
        """Bring summary.json up to date."""
        self._summary_at = time.monotonic()
        summary.write(self.folder, self.summary)

    def _record_step(self, step: Step) -> None:
        now = time.monotonic()
        if now - self._step_at >= STEP_SECONDS:
            self._step_at = now
            self._append(step)

    def _append(self, event: Event) -> None:
        stamped = self.log.append(event)
        if isinstance(event, events.RunResumed):
            self.summary = summary.rebuild(self.folder)
        else:
            self.summary.fold(stamped)
        self.summary.offset = self.log.size
        if time.monotonic() - self._summary_at >= SUMMARY_SECONDS or isinstance(event, events.ENDS):
            self.flush()
        if problem := self.mirror.add(stamped):
            self._append(events.Message(text=problem, level="warning"))

    def _store_best(self, best: BestModel) -> None:
        stored = resume.store_best(self.folder, best)
        self._append(
            events.BestModelStored(
                step=best.step,
                epoch=best.epoch,
                value=best.value,
                measure=best.measure,
                file=self._relative(stored.path),
                sha256=stored.sha256,
            )
        )

    def _store_pictures(self, pictures: Pictures) -> None:
        name = f"{pictures.name}-{pictures.step:06d}.png" if pictures.numbered else f"{pictures.name}.png"
        path = self.folder / "images" / name
        scale = max(1, SMALLEST_SIDE // min(pictures.images.shape[-2:]))
        images.save_png(path, images.grid(pictures.images, pictures.columns, scale=scale, gap=2))
        self._append(
            events.ImageSaved(
                file=self._relative(path),
                name=pictures.name,
                step=pictures.step,
                title=pictures.title,
                panels=list(pictures.panels),
                columns=pictures.columns,
            )
        )

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


class NullRecorder:
    """In place of the recorder, where another process records what this one does as well."""

    def __init__(self, folder: Path, device: torch.device | str) -> None:
        self.folder = folder
        self.device = torch.device(device)
        self.summary = summary.read(folder)

    def record(self, item: Item) -> None:
        """Nothing."""

    def checkpoint(self, experiment: Experiment) -> None:
        """Give this process's part of what the other one stores."""
        experiment.state_dict()

    def resume_from_checkpoint(self, experiment: Experiment) -> None:
        """Bring an experiment to where its last checkpoint was made. Raises UserError for one that is damaged."""
        resume.load(self.folder, experiment, self.device)
