"""The recorder of an experiment: it logs events, stores payloads and then logs them, and updates the summary."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import time
from pathlib import Path

import torch

from dipddpm.core import events, images
from dipddpm.core.compute import checkpoint, rng
from dipddpm.core.errors import FREE_SPACE, UserError, system_error
from dipddpm.core.events import Event, Experiment, Item
from dipddpm.core.export.mirror import TensorboardMirror
from dipddpm.core.io import atomic
from dipddpm.core.io.given import read_given, with_filled
from dipddpm.core.io.masks import read_mask
from dipddpm.core.io.written import write_like
from dipddpm.core.launch import inputs
from dipddpm.core.runs import BEST_FILE, CHECKPOINT_FILE, EventLog, EventReader, history, summary

STEP_SECONDS = 0.25
"""Shortest time between two logged `Step` events."""
SUMMARY_SECONDS = 1.0
"""Shortest time between two writes of the summary."""
BEST_BEFORE = Path("checkpoints/best-before.safetensors")
"""The best model at the last checkpoint, stored from its replacement by a better model until the next checkpoint.

A run that is killed in between resumes from the checkpoint, and needs the model that was the best at that time.
"""
MOST_RESTORED = 100
"""The number of restored images stored as PNG files of their own; `export --to images` writes all of them."""
_LOGGED = "logged"
_HELD = "held"
_GENERATORS = "generators"
_SETTINGS = "settings"
_FORMAT = "format"
FORMAT = 2
"""Version of the checkpoint's contents; version 1 also stored which items of a step had been yielded."""


class Recorder:
    """Writer of a run folder; its methods raise OSError if the disk is full.

    A best model, the end of an epoch and all that follows are held back until the step has its `checkpoint` or its
    `flush`. So an epoch is in the log only once a resume keeps it, if it gets a checkpoint at all.

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
        self._held: list[Item] = []
        self._warned = False

    def record(self, item: Item) -> None:
        """Log one item, or hold it back; the file of a payload is stored before its event is logged."""
        if self.log is None:
            return
        if self._held or isinstance(item, events.BestModel | events.EpochFinished):
            self._held.append(item)
        else:
            self._append(*self._store(item))

    def flush(self) -> None:
        """Log the items that were held back."""
        self._append(*self._store_held())

    def checkpoint(self, experiment: Experiment, *, required: bool = True) -> float:
        """Store a checkpoint, and return the seconds that took; call this only after a `Step`.

        The items that were held back are logged, even if the checkpoint can't be stored. It holds their events too,
        because the process may be killed before it has logged them. Unless the checkpoint is `required`, a full disk
        is only a warning where there is an earlier one.
        """
        held = self._store_held()
        began = time.monotonic()
        if self.log is None:
            experiment.state_dict()  # rank 0 gathers the state of all processes, so each must take part
            return 0.0
        own = {_LOGGED: self.log.size, _GENERATORS: rng.state_dict(self.device), _FORMAT: FORMAT}
        own |= {_HELD: [events.encode(event).decode() for event in held], _SETTINGS: inputs.settings(self.folder)}
        path, failure, sha256 = self.folder / CHECKPOINT_FILE, None, ""
        try:
            sha256 = checkpoint.save(path, {**experiment.state_dict(), **own}, experiment.network)
        except OSError as error:
            failure = error
        seconds = time.monotonic() - began
        self._append(*held)
        if failure is not None:
            limit = system_error(failure)
            if required or limit is None or limit.remedy != FREE_SPACE or not path.exists():
                raise failure
            self._warn_of_full_disk(limit.problem, experiment.step)
            return seconds
        step, epoch = experiment.step, experiment.epoch
        self._append(
            events.CheckpointStored(step=step, epoch=epoch, file=CHECKPOINT_FILE, sha256=sha256, seconds=seconds)
        )
        (self.folder / BEST_BEFORE).unlink(missing_ok=True)
        self._warned = False
        return time.monotonic() - began

    def resume_from_checkpoint(self, experiment: Experiment) -> None:
        """Load the last checkpoint into an experiment, and void all later events of the log.

        The model that was the best at the checkpoint is restored. Raises UserError for a damaged checkpoint, and if the
        experiment's inputs differ from those at the checkpoint.
        """
        unchecked = inputs.refuse_changed(self.folder, experiment.inputs)
        log_size, held = load_checkpoint(self.folder, experiment, self.device)
        if self.log is None:
            return
        self._append(
            events.RunResumed(
                from_step=experiment.step, from_epoch=experiment.epoch, from_offset=log_size, device=str(self.device)
            ),
            *held,
        )
        if unchecked:
            self._append(events.Message(text=inputs.UNCHECKED.format(unchecked), level="warning"))
        stored_best = [e for e in history(EventReader(self.folder).read()) if isinstance(e, events.BestModelStored)]
        before = self.folder / BEST_BEFORE
        with contextlib.suppress(FileNotFoundError):
            if stored_best and checkpoint.digest(before) == stored_best[-1].sha256:
                before.replace(self.folder / BEST_FILE)
            before.unlink(missing_ok=True)

    def _append(self, *new: Event) -> None:
        for event in new:
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

    def _warn_of_full_disk(self, cause: str, step: int) -> None:
        """Log a warning, unless the checkpoint before couldn't be stored either."""
        if not self._warned:
            problem = f"{cause} The checkpoint at step {step:,} could not be stored"
            remedy = "Free some space: until then, a resume begins at the checkpoint before"
            self._append(events.Message(text=f"{problem}. {remedy}", level="warning"))
        self._warned = True

    def _store_held(self) -> list[Event]:
        """Store the payloads that were held back, and return the events of all items, which are no longer held."""
        held, self._held = self._held, []
        return [event for item in held for event in self._store(item)]

    def _store(self, item: Item) -> list[Event]:
        """Store the file of a payload, and return the event to log for the item; none for a `Step` too soon."""
        if isinstance(item, events.Step):
            if time.monotonic() - self._step_at < STEP_SECONDS:
                return []
            self._step_at = time.monotonic()
        if isinstance(item, Event):
            return [*self._closing_warnings(item), item]
        return [self._store_payload(item), *_warnings(item)]

    def _closing_warnings(self, event: Event) -> list[Event]:
        """Return a warning if the run finishes with a loss or a PSNR that isn't a number."""
        if not isinstance(event, events.RunFinished):
            return []
        values = {"loss": self.summary.loss, "PSNR": self.summary.result_psnr}
        spoilt = [name for name, value in values.items() if value is not None and math.isnan(value)]
        text = f"The run has finished, but its last {' and '.join(spoilt)} is not a number. Lower the learning rate."
        return [events.Message(text=text, level="warning")] if spoilt else []

    def _store_payload(self, payload: events.Payload) -> Event:
        match payload:
            case events.BestModel():
                return self._store_best(payload)
            case events.Pictures():
                return self._store_pictures(payload)
            case events.RestoredImages():
                return self._store_restored(payload)
            case events.GivenRestored():
                return self._store_given(payload)
            case events.Tensors():
                name = f"{payload.name}.safetensors"
                sha256 = checkpoint.save(self.folder / name, payload.tensors)
            case events.Document():
                name, content = payload.name, payload.text.encode()
                atomic.write_atomic(self.folder / name, content)
                sha256 = hashlib.sha256(content).hexdigest()
            case _:
                raise TypeError(f"an experiment yielded a {type(payload).__name__}")
        return events.FileStored(file=name, sha256=sha256, step=payload.step)

    def _store_best(self, best: events.BestModel) -> Event:
        """Store a best model, and save the model that it replaces if the last checkpoint refers to that model.

        Raises UserError for weights that aren't finite.
        """
        if best.network is not None and not all(bool(p.isfinite().all()) for p in best.network.parameters()):
            problem = f"The weights of the best model, at step {best.step}, are not finite."
            raise UserError(problem, "Lower the learning rate, and run again.")
        path, before = self.folder / BEST_FILE, self.folder / BEST_BEFORE
        if path.exists() and not before.exists():
            try:
                os.link(path, before)
            except OSError:  # the file system has no hard links
                shutil.copyfile(path, before)
        sha256 = checkpoint.save(path, best.tensors, best.network)
        return events.BestModelStored(
            step=best.step, epoch=best.epoch, value=best.value, measure=best.measure, file=BEST_FILE, sha256=sha256
        )

    def _store_pictures(self, pictures: events.Pictures) -> Event:
        name = f"{pictures.name}-{pictures.step:06d}.png" if pictures.numbered else f"{pictures.name}.png"
        images.save_png(self.folder / "images" / name, images.picture(pictures.images, pictures.columns))
        return events.ImageSaved(
            file=f"images/{name}",
            name=pictures.name,
            step=pictures.step,
            title=pictures.title,
            panels=list(pictures.panels),
            columns=pictures.columns,
        )

    def _store_restored(self, item: events.RestoredImages) -> Event:
        files: dict[str, list[str]] = {"restored": [], "degraded": []}
        for kind, tensors in (("restored", item.restored), ("degraded", item.degraded)):
            for name, image in zip(item.names[:MOST_RESTORED], tensors, strict=False):
                files[kind].append(f"images/{name}-{kind}.png")
                images.save_png(self.folder / files[kind][-1], image)
        count = len(item.names)
        return events.RestoredSaved(files=files["restored"], degraded=files["degraded"], images=count, step=item.step)

    def _store_given(self, item: events.GivenRestored) -> Event:
        """Store the restoration of a given file, a copy of the given file, and the maps; copy the result to `out`."""
        given = read_given(Path(item.file), white=item.white, grey=item.grey)
        pixels = [image.detach().cpu().movedim(0, -1).numpy() for image in item.images]
        known = read_mask(Path(item.mask)) if item.mask else None
        restored = pixels, given if known is None else [with_filled(picture, known) for picture in given]
        files = {}
        for kind, pictures in (("restored", restored), ("given", ([picture.pixels for picture in given], given))):
            files[kind] = f"images/{item.name}-{kind}{given[0].source.ending}"
            write_like(self.folder / files[kind], *pictures)
        for name, image in item.maps.items():
            images.save_png(self.folder / f"images/{item.name}-{name}.png", image)
        if item.out:
            Path(item.out).parent.mkdir(parents=True, exist_ok=True)
            write_like(Path(item.out), *restored)
        return events.RestoredSaved(
            files=[files["restored"]], degraded=[files["given"]], images=len(given), step=item.step, out=item.out
        )


def _warnings(payload: events.Payload) -> list[Event]:
    """Return a warning if images of a payload have pixels that aren't finite."""
    if isinstance(payload, events.Pictures):
        what, shown, stored = f"The picture {payload.name}", ", shown in magenta", list(payload.images)
    elif isinstance(payload, events.BestModel):
        what, shown, stored = "The result", "", list(payload.tensors.get("restored", ()))
    else:
        return []
    spoilt = sum(not bool(image.isfinite().all()) for image in stored)
    text = f"{what} has pixels that are not finite in {spoilt} of {len(stored)} images{shown}"
    return [events.Message(text=text, level="warning")] if spoilt else []


def load_checkpoint(folder: Path, experiment: Experiment, device: torch.device) -> tuple[int, list[Event]]:
    """Load the last checkpoint into an experiment; return the size of the log at that time and the events to log again.

    Without a checkpoint the experiment starts from the beginning. Raises UserError for a checkpoint that is damaged or
    was stored by another run or another version.
    """
    if not (folder / CHECKPOINT_FILE).exists():
        return 0, []
    state = checkpoint.load_state(folder / CHECKPOINT_FILE, device)
    if state.pop(_FORMAT, 1) != FORMAT:
        problem = f"{CHECKPOINT_FILE} was stored by another version of this program, and can't be resumed."
        raise UserError(problem, "Resume the run with the version that started it, or fork it to start again.")
    try:
        log_size = int(state.pop(_LOGGED))
        generator_state = state.pop(_GENERATORS)
        held = [events.decode(line.encode()) for line in state.pop(_HELD, [])]
        changed = inputs.changed_settings(state.pop(_SETTINGS, {}), inputs.settings(folder))
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
    offset = next((event.offset for event in reversed(stored) if event.sha256 == digest), None)
    warnings: list[Event] = [events.Message(text=changed, level="warning")] if changed else []
    # A process that logged the checkpoint has logged the events in it as well.
    again = [event for event in held if event is not None] if offset is None else []
    return log_size if offset is None else offset, [*again, *warnings]
