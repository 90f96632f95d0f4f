"""A snapshot of a run, read once, so that all files of an export show the same state."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.events import Event
from dipddpm.core.means import mean, psnr_mean
from dipddpm.core.runs import Run, RunStatus

E = TypeVar("E", bound=Event)
MOST_IMAGES = 32
"""Other tools get a curve for each of at most this many images, and only the mean of more; tables hold every image."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Record:
    """The logical history of a run and its status."""

    run: Run
    status: RunStatus
    history: list[Event]

    @classmethod
    def of(cls, run: Run) -> Record:
        """Read the current state of a run."""
        return cls(run, run.status(), run.events())

    @property
    def title(self) -> str:
        """The run's name, or its id if it has none."""
        return self.status.summary.name or self.run.id

    @property
    def began(self) -> float:
        """The time of the earliest event, in seconds since 1970; an extended run's log begins with a later one."""
        return min((event.time for event in self.history if event.time), default=self.run.created)

    def all(self, kind: type[E]) -> list[E]:
        """Return the events of a kind, in order."""
        return [event for event in self.history if isinstance(event, kind)]

    def last(self, kind: type[E]) -> E | None:
        """Return the last event of a kind, or None."""
        return next((event for event in reversed(self.history) if isinstance(event, kind)), None)

    def pictures(self) -> list[tuple[events.ImageSaved, Path]]:
        """Return the run's existing PNG files, each with the last event that names it, in the order of first naming."""
        events_by_file = {event.file: event for event in self.all(events.ImageSaved)}
        paths_by_file = {path.relative_to(self.run.folder).as_posix(): path for path in self.run.files("images/*.png")}
        return [(event, paths_by_file[file]) for file, event in events_by_file.items() if file in paths_by_file]

    def options(self) -> dict[str, bool | int | float | str]:
        """Return the config as a flat mapping of dotted keys to plain values."""
        values = configs.flatten(self.status.config) if self.status.config else {}
        return {
            key: ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            for key, value in values.items()
        }

    def results(self) -> dict[str, float]:
        """Return the run's main results by name; missing results are left out."""
        summary = self.status.summary
        quality = summary.quality
        numbers = {
            "loss": summary.loss,
            "best_loss": summary.best_loss,
            "psnr": summary.psnr,
            "psnr_peak": summary.peak_psnr,
            "psnr_at_stop": summary.stop_psnr,
            "residual": quality.residual if quality else None,
            "noise": quality.noise if quality else None,
            "held_out": summary.held_out,
            "predicted_psnr": quality.predicted if quality else None,
            "images_per_second": summary.images_per_second,
            "seconds": summary.ended - summary.started if summary.started and summary.ended else None,
        }
        return {name: value for name, value in numbers.items() if value is not None}


def scalars(event: Event) -> Iterator[tuple[str, float]]:
    """Yield the numbers of an event with the names of their curves, for TensorBoard, W&B and MLflow.

    No name is a parent folder of another name, so that names can serve as file paths.
    """
    match event:
        case events.Step():
            values = {"loss/step": event.loss, "lr": event.lr, "images_per_second": event.images_per_second}
            yield from ((name, value) for name, value in values.items() if value is not None)
        case events.EpochFinished():
            yield from (("epoch", event.epoch), ("loss/epoch", event.loss))
            if event.held_out is not None:
                yield "loss/held_out", event.held_out
            yield from ((f"loss_by_t/{band}", error) for band, error in enumerate(event.bands))
        case events.PsnrMeasured():
            yield "psnr/mean", psnr_mean(event.psnr or [event.mean]).value
            if event.averaged:
                yield "averaged/mean", psnr_mean(event.averaged).value
            for name, scores in (("ssim", event.ssim), ("fit_loss", event.loss)):
                if scores:
                    yield f"{name}/mean", mean(scores)
            for name, scores in (("psnr", event.psnr), ("averaged", event.averaged)):
                if len(scores) <= MOST_IMAGES:
                    yield from ((f"{name}/image_{image}", score) for image, score in enumerate(scores))
        case events.FitMeasured():
            levels = [level for level in event.noise if level is not None]
            measured = {"residual": event.residual, "noise": levels, "held_out": event.held_out, "fit_loss": event.loss}
            yield from ((f"{name}/mean", mean(values)) for name, values in measured.items() if values)
            if len(event.residual) <= MOST_IMAGES:
                yield from ((f"residual/image_{image}", value) for image, value in enumerate(event.residual))
        case events.QualityPredicted(predicted_psnr=float(psnr)) if event.image < MOST_IMAGES:
            yield f"predicted_psnr/image_{event.image}", psnr
        case events.EarlyStopped(psnr=float(psnr)) if event.image < MOST_IMAGES:
            yield f"stop/image_{event.image}", psnr
        case events.StopsCompared() if event.psnr:
            for name in ("psnr", "peak", "final"):
                yield f"stop/{name}", psnr_mean(getattr(event, name)).value
        case events.SamplesEvaluated():
            yield f"samples/{safe_name(event.measure)}", event.value
        case events.RestorationScored() if event.psnr:
            method = f"{event.method}_as_long_as_{event.budget_of}" if event.budget_of else event.method
            prefix = "/".join(map(safe_name, ("scores", event.task, event.set, method)))
            yield f"{prefix}/psnr", psnr_mean(event.psnr).value
            yield f"{prefix}/seconds", event.seconds


def step_of(event: Event) -> int:
    """Return the step of an event; 0 for an event without a step."""
    return int(getattr(event, "step", 0))


def safe_name(text: str) -> str:
    """Return the text as a part of a name or path for any tool: letters, digits, `_`, `.` and `-`, never empty."""
    return _UNSAFE.sub("_", text)[:60].strip(".") or "_"


@contextlib.contextmanager
def temporary_environ(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the duration of a `with` block, and restore them afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in before:
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in before.items() if value is not None})
