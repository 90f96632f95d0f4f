"""Events, each a typed record on one JSON line of a run's log. Loads no torch."""

from __future__ import annotations

import functools
import operator
import time
from typing import TypeAlias, TypeVar

import msgspec

from dipddpm.core.events import given, spread  # noqa: F401 - they register their events as subclasses of Event
from dipddpm.core.events.base import SCHEMA, Count, Event
from dipddpm.core.io import records


class RunQueued(Event, tag="run_queued", frozen=True):
    """The worker waits for a slot on its device; `ahead` runs are served first."""

    device: str
    ahead: Count = 0


class RunStarted(Event, tag="run_started", frozen=True):
    """The work begins. A total that isn't known yet is 0; `images` counts the images trained on or restored."""

    kind: str
    method: str
    device: str
    device_name: str = ""
    epochs: Count = 0
    steps: Count = 0
    images: Count = 0
    parameters: Count = 0


class RunResumed(Event, tag="run_resumed", frozen=True):
    """The run resumes from its last checkpoint; the work after the checkpoint is done and logged again.

    `from_offset` is the size of the log in bytes at the checkpoint. The lines from there up to this one are void; None
    if no line is void.
    """

    from_step: Count
    from_offset: Count | None = None
    from_epoch: Count = 0
    device: str = ""


class DataLoaded(Event, tag="data_loaded", frozen=True):
    """The run has loaded its images; `sha256` is the hash of their pixels and labels, `notes` says what was left out.

    For image files, `files` maps each path, in order, to the hash of its pixels.
    """

    dataset: str
    split: str
    images: Count
    sha256: str
    source: str = ""
    notes: list[str] = []
    files: dict[str, str] = {}


class MaskLoaded(Event, tag="mask_loaded", frozen=True):
    """The run has read the mask of its task: the file, and the hash of the mask's pixels."""

    file: str
    sha256: str


class KernelLoaded(Event, tag="kernel_loaded", frozen=True):
    """The run has read the kernel of its blur: the file, and the hash of the kernel's values."""

    file: str
    sha256: str


class PriorLoaded(Event, tag="prior_loaded", frozen=True):
    """The run has loaded a trained model: the id of the run that trained it, and the hash of the model's file.

    `role` describes a model that is not the prior. `options` are those of its training that the network doesn't hold.
    """

    run: str
    sha256: str
    parameters: Count = 0
    role: str = ""
    options: dict[str, str] = {}


class Step(Event, tag="step", frozen=True):
    """An optimiser or sampler step. The log holds only a few of them per second."""

    step: Count
    epoch: Count = 0
    loss: float | None = None
    lr: float | None = None
    images_per_second: float | None = None


class EpochFinished(Event, tag="epoch_finished", frozen=True):
    """A pass over the training images has ended. `best` is true if this epoch's model was stored as the best.

    `bands` is the error of eps in ten equal intervals of the timesteps, least noisy first, on the held-out images or,
    if there are none, on as many training images. `held_out` is the error on the held-out images that selects the best
    model: the mean of `bands`, unless the method selects by another error.
    """

    epoch: Count
    step: Count
    loss: float
    best: bool = False
    held_out: float | None = None
    bands: list[float] = []
    lr: float | None = None
    seconds: float = 0.0
    images_per_second: float | None = None


class BestModelStored(Event, tag="best_model_stored", frozen=True):
    """The best model so far is synced to disk. `measure` says what `value` is: loss, held_out or the stopping rule.

    `value` is None if the rule gave no score.
    """

    step: Count
    file: str
    sha256: str
    value: float | None = None
    measure: str = "loss"
    epoch: Count = 0


class CheckpointStored(Event, tag="checkpoint_stored", frozen=True):
    """A checkpoint, from which the run resumes exactly, is synced to disk; that took `seconds`."""

    step: Count
    file: str
    sha256: str
    epoch: Count = 0
    seconds: float = 0.0


class PsnrMeasured(Event, tag="psnr_measured", frozen=True):
    """PSNR in dB against the truth, SSIM and the fit's loss, for each image; `mean` is the mean PSNR.

    The mean leaves out exact images, whose PSNR is infinite, unless all are exact.

    `averaged` is the PSNR of the running average of outputs; empty if the fit averages nothing.
    """

    step: Count
    psnr: list[float]
    mean: float
    loss: list[float] = []
    ssim: list[float] = []
    averaged: list[float] = []


class StageStarted(Event, tag="stage_started", frozen=True):
    """A stage of a method begins: number `stage` of `stages`, from 1. A stage that no image needs is left out."""

    step: Count
    title: str
    stage: Count
    stages: Count


class EarlyStopped(Event, tag="early_stopped", frozen=True):
    """A truth-free rule ended the fit of an image; iteration `at` restores it, at `psnr` dB (None: no truth)."""

    step: Count
    image: Count
    at: Count
    rule: str
    psnr: float | None = None


class StopsCompared(Event, tag="stops_compared", frozen=True):
    """The truth-free stop of a finished fit, compared with the best possible stop, for each image in order.

    `psnr` and `ssim` are measured at the stop, iteration `at`. `peak` is the highest PSNR of the fit, at iteration
    `peak_at`, known only with the truth. `final` is the PSNR of the last iteration. The stop's gap is peak - psnr.
    """

    step: Count
    rule: str
    at: list[Count]
    psnr: list[float]
    peak: list[float]
    peak_at: list[Count]
    final: list[float]
    ssim: list[float] = []


class ImageSaved(Event, tag="image_saved", frozen=True):
    """A PNG was written into the run folder. `panels` names its images, in rows of `columns` (0 in older logs)."""

    file: str
    name: str
    step: Count = 0
    title: str = ""
    panels: list[str] = []
    columns: Count = 0


class RestoredSaved(Event, tag="restored_saved", frozen=True):
    """Restored images were written as PNG files, each at its own size: the first `files` of `images` in all.

    `degraded` names the files with the degraded images. `out` is a file outside the run folder with the same result.
    """

    files: list[str]
    images: Count
    degraded: list[str] = []
    out: str = ""
    step: Count = 0


class FileStored(Event, tag="file_stored", frozen=True):
    """A measurement, a table or a report is synced to disk. `file` is relative to the run folder."""

    file: str
    sha256: str
    step: Count = 0


class SamplesEvaluated(Event, tag="samples_evaluated", frozen=True):
    """A distance between samples and a reference set, with the protocol by which it was measured."""

    step: Count
    measure: str
    value: float
    samples: Count
    protocol: str
    nfe: Count = 0


class TrialErrors(msgspec.Struct, frozen=True):
    """The errors of a hybrid's candidates at held-out measurements, from which it computes their weights.

    `products[f][k][l]` is the mean product of the errors of the candidates k and l in fold f, relative for each image
    to the mean square of all its candidates' errors, then averaged over the images. `noise` is the part of each of them
    that is noise of the held-out values. `reach` is how much farther from measured pixels the missing ones lie than the
    held-out ones, as a ratio of mean distances; 1 for tasks without missing pixels.
    """

    candidates: list[str]
    products: list[list[list[float]]]
    noise: float = 0.0
    reach: float = 1.0


class RestorationScored(Event, tag="restoration_scored", frozen=True):
    """The score of one method on one task and one set of images: PSNR and SSIM of each image, and the cost.

    `nfe` and `iterations` are per image; `seconds` is the total, with everything counted. `runs` restarts or samples
    are averaged. `budget_of` names the hybrid whose seconds were the time budget; empty without a budget.
    `recognised`: whether the classifier gave each image its true class. `knows`: what the method was given or finds out
    besides the measurement, the operator and the kind of noise; empty in older logs. `first` is the index of the first
    image in its set; it isn't 0 for images that were added to a head-to-head. `trial`: the errors at held-out
    measurements of a method that computes any.
    """

    task: str
    method: str
    psnr: list[float]
    ssim: list[float] = []
    nfe: Count = 0
    iterations: Count = 0
    seconds: float = 0.0
    step: Count = 0
    set: str = ""
    seed: int = 0
    runs: Count = 1
    budget_of: str = ""
    recognised: list[bool] = []
    knows: tuple[str, ...] = ()
    first: Count = 0
    trial: TrialErrors | None = None


class RestorationMissing(Event, tag="restoration_missing", frozen=True):
    """A method has no result on a task and a set: it doesn't apply there, or it `failed`; `why` gives the reason.

    `first` is the index of the first of the images in their set.
    """

    task: str
    method: str
    why: str
    failed: bool = False
    step: Count = 0
    set: str = ""
    seed: int = 0
    first: Count = 0


class RestorationsCompared(Event, tag="restorations_compared", frozen=True):
    """A hybrid's mean PSNR in dB over all cells, and the smallest of its mean gains, if any, with bounds.

    `against` names what the gain is over; it is empty in older logs, whose gain is over the better of the plain
    baselines. The mean PSNR leaves out `exact` images that equal their truth; the gain leaves out `left_out` images
    that only one of both methods restores exactly. A gain from one image has no bounds.
    """

    method: str
    psnr: float
    cells: Count
    gain: float | None = None
    lower: float | None = None
    upper: float | None = None
    step: Count = 0
    exact: Count = 0
    left_out: Count = 0
    against: str = ""
    images: Count = 0
    seeds: Count = 0


class Message(Event, tag="message", frozen=True):
    """A message for people. `level` is info or warning."""

    text: str
    level: str = "info"


class RunFinished(Event, tag="run_finished", frozen=True):
    """The run has done all its work."""

    seconds: float
    step: Count = 0


class RunFailed(Event, tag="run_failed", frozen=True):
    """The run ended with an error; `hint` says what to do about it."""

    error: str
    hint: str
    step: Count = 0


class RunStopped(Event, tag="run_stopped", frozen=True):
    """The run stopped on request, after storing a checkpoint."""

    reason: str
    step: Count = 0


Input: TypeAlias = DataLoaded | MaskLoaded | KernelLoaded | PriorLoaded
"""An event that identifies the contents of something outside the run folder that the run computes with."""
ENDS = (RunFinished, RunFailed, RunStopped)
EVENT_TYPES = tuple(Event.__subclasses__())
_ANY_EVENT: type[Event] = functools.reduce(operator.or_, EVENT_TYPES)
E = TypeVar("E", bound=Event)


def stamped(event: E, offset: int = 0) -> E:
    """Return a copy of the event with the schema version, its offset in the log and, if it has none, the time."""
    return msgspec.structs.replace(event, time=event.time or time.time(), v=SCHEMA, offset=offset)


def encode(event: Event) -> bytes:
    """Return the event as one JSON line, newline included. Equal events give equal lines."""
    return records.dump(event) + b"\n"


def decode(line: bytes) -> Event | None:
    """Return the event of a line; None if this version doesn't know its kind or the line is invalid."""
    try:
        return records.load(line, _ANY_EVENT)
    except (ValueError, RecursionError):
        return None
