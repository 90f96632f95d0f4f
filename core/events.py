"""What an experiment yields: events, which are typed records of one JSON line each, and payloads. Loads no torch.

An event goes to the log as it is; a reader skips kinds and fields that it doesn't know. A payload carries tensors or
text in memory; the worker stores it and logs an event that says where.
"""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from dipddpm.core.io import records

SCHEMA = 1
"""The version of the schema, which every line names."""
StateDict: TypeAlias = Mapping[str, Any]
"""Tensors, plain values and nested mappings of them: what a checkpoint can hold without pickle."""
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
"""A number of things, an index or a size. A line that holds one out of bounds is no event."""
Timestamp: TypeAlias = Annotated[float, Meta(ge=0, le=1e11)]
"""Seconds since 1970, up to the year 5138."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """One line of events.jsonl. `time` (s since 1970), schema `v` and `offset` (bytes) are stamped in writing."""

    time: Timestamp = 0.0
    v: Count = 0
    offset: Count = 0


class RunQueued(Event, tag="run_queued", frozen=True):
    """The worker waits for a slot on its device; `ahead` runs are served first."""

    device: str
    ahead: Count = 0


class RunStarted(Event, tag="run_started", frozen=True):
    """The work begins. A total that isn't known beforehand is 0; `images` is what the run learns from or restores."""

    kind: str
    method: str
    device: str
    device_name: str = ""
    epochs: Count = 0
    steps: Count = 0
    images: Count = 0
    parameters: Count = 0


class RunResumed(Event, tag="run_resumed", frozen=True):
    """The work goes on after a stop or a crash, from the last checkpoint.

    What the log says of the work from `from_offset`, its end when the checkpoint was made, up to this line is void: it
    is done and written again. Without an offset nothing is void.
    """

    from_step: Count
    from_offset: Count | None = None
    from_epoch: Count = 0
    device: str = ""


class DataLoaded(Event, tag="data_loaded", frozen=True):
    """Which images the run uses, by the hash of their contents."""

    dataset: str
    split: str
    images: Count
    sha256: str
    source: str = ""


class PriorLoaded(Event, tag="prior_loaded", frozen=True):
    """Which trained model the run uses, by the id of the run that trained it and the hash of its file."""

    run: str
    sha256: str
    parameters: Count = 0


class Step(Event, tag="step", frozen=True):
    """An optimiser or sampler step. The log keeps a few a second of them."""

    step: Count
    epoch: Count = 0
    loss: float | None = None
    lr: float | None = None
    images_per_second: float | None = None


class EpochFinished(Event, tag="epoch_finished", frozen=True):
    """A pass over the training images. `best` is set when the model of this epoch has been stored as the best.

    `bands` is the error of eps in ten equal parts of the timesteps, the least noisy first, on held-out images, or else
    on as many training images. `held_out` is the error on the held-out images by which the best model is chosen: the
    mean of the bands, unless the method chooses by another one.
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
    """The best model so far is safely on disk. `measure` names what `value` is: loss, held_out or the stopping rule."""

    step: Count
    value: float
    file: str
    sha256: str
    measure: str = "loss"
    epoch: Count = 0


class CheckpointStored(Event, tag="checkpoint_stored", frozen=True):
    """All that resuming needs is safely on disk."""

    step: Count
    file: str
    sha256: str
    epoch: Count = 0


class PsnrMeasured(Event, tag="psnr_measured", frozen=True):
    """PSNR in dB against the truth, and the fit's own loss, for each image and on the mean.

    `averaged` is the PSNR of the running average of outputs, where one is kept.
    """

    step: Count
    psnr: list[float]
    mean: float
    loss: list[float] = []
    ssim: list[float] = []
    averaged: list[float] = []


class EarlyStopped(Event, tag="early_stopped", frozen=True):
    """A rule that doesn't know the truth stopped the fit of one image at `at`; `psnr` is what the image has there."""

    step: Count
    image: Count
    at: Count
    rule: str
    psnr: float | None = None


class StopsCompared(Event, tag="stops_compared", frozen=True):
    """At the end of a fit, for each image in order: what the truth-free stop gave, and what was possible.

    `psnr` and `ssim` are those of the image at the stop, iteration `at`; `peak` is the best PSNR that the restoration
    ever had, at `peak_at`, known only with the truth; `final` is that of the last iteration. The gap is peak - psnr.
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
    """A PNG was written. `file` is relative to the run folder; `panels` names what is shown, in order.

    Its images lie in rows of `columns`; 0 where the log doesn't tell, as those of older runs.
    """

    file: str
    name: str
    step: Count = 0
    title: str = ""
    panels: list[str] = []
    columns: Count = 0


class FileStored(Event, tag="file_stored", frozen=True):
    """A measurement, a table or a report is safely on disk. `file` is relative to the run folder."""

    file: str
    sha256: str
    step: Count = 0


class SamplesEvaluated(Event, tag="samples_evaluated", frozen=True):
    """A distance between samples and a reference, with the protocol that gives it a meaning."""

    step: Count
    measure: str
    value: float
    samples: Count
    protocol: str
    nfe: Count = 0


class RestorationScored(Event, tag="restoration_scored", frozen=True):
    """How one method did on one task and one set of images: PSNR and SSIM for each image, and what it cost.

    `nfe` and `iterations` are for each image; `seconds` are of all images together, with everything counted. `runs` is
    how many restarts or samples the result is the mean of; `budget_of` names the hybrid whose seconds it was given,
    empty for what takes the time that it takes. `recognised` is whether the classifier told each image for what it is.
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


class RestorationMissing(Event, tag="restoration_missing", frozen=True):
    """That a method has no result on a task and a set of images, and why, in a sentence.

    It is not made for the task, or lacks something (n/a); or it failed, if only with one seed of several.
    """

    task: str
    method: str
    why: str
    failed: bool = False
    step: Count = 0
    set: str = ""
    seed: int = 0


class RestorationsCompared(Event, tag="restorations_compared", frozen=True):
    """What a hybrid's scores come to so far: its PSNR and its gain over the better parent, on the mean of all cells.

    `lower` and `upper` are the 95% bounds of the gain; all three are None where there is no parent to compare with.
    """

    method: str
    psnr: float
    cells: Count
    gain: float | None = None
    lower: float | None = None
    upper: float | None = None
    step: Count = 0


class Message(Event, tag="message", frozen=True):
    """A remark for people. `level` is info or warning."""

    text: str
    level: str = "info"


class RunFinished(Event, tag="run_finished", frozen=True):
    """All that was asked for is done."""

    seconds: float
    step: Count = 0


class RunFailed(Event, tag="run_failed", frozen=True):
    """The run ended by an error; `hint` says what to do about it."""

    error: str
    hint: str
    step: Count = 0


class RunStopped(Event, tag="run_stopped", frozen=True):
    """Somebody asked the run to stop, and it did, with a checkpoint."""

    reason: str
    step: Count = 0


ENDS = (RunFinished, RunFailed, RunStopped)
EVENT_TYPES = tuple(Event.__subclasses__())
_ANY_EVENT: type[Event] = functools.reduce(operator.or_, EVENT_TYPES)
E = TypeVar("E", bound=Event)


def stamped(event: E, offset: int = 0) -> E:
    """Copy the event with the schema's version, its offset in the log and, unless it has one, the time."""
    return msgspec.structs.replace(event, time=event.time or time.time(), v=SCHEMA, offset=offset)


def encode(event: Event) -> bytes:
    """Return the event as one JSON line with its newline. Equal events give equal lines."""
    return records.dump(event) + b"\n"


def decode(line: bytes) -> Event | None:
    """Return the event of a line; None for a kind that this version doesn't know, or for a line that is no event."""
    try:
        return records.load(line, _ANY_EVENT)
    except (ValueError, RecursionError):
        return None


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Something in memory that the worker stores. Never serialised."""


class Pictures(Payload, frozen=True):
    """Images to be kept as PNG: float tensor in [0, 1], shape (N, C, H, W), laid out in rows of `columns`.

    `name` becomes the file's name; with `numbered`, the step is added to it.
    """

    name: str
    images: Any
    step: int = 0
    title: str = ""
    columns: int = 8
    panels: tuple[str, ...] = ()
    numbered: bool = False


class BestModel(Payload, frozen=True):
    """A network (any that the registry can rebuild) to be kept as the best, with tensors that belong to it."""

    network: Any
    step: int
    value: float
    measure: str = "loss"
    epoch: int = 0
    tensors: StateDict = {}


class Tensors(Payload, frozen=True):
    """Tensors to be kept as float safetensors, as they were used: a measurement, a result."""

    name: str
    tensors: StateDict
    step: int = 0


class Document(Payload, frozen=True):
    """A text to be kept as a file of this name in the run folder: a table, a report."""

    name: str
    text: str
    step: int = 0


Item: TypeAlias = Event | Payload


class Resumable(Protocol):
    """Work that one iterates, and whose state can be stored after a `Step`."""

    def __iter__(self) -> Iterator[Item]: ...

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid after a `Step`."""

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""


class Experiment(Resumable, Protocol):
    """What the worker carries out, and a notebook can iterate over. It opens no file and prints nothing.

    All items of a step come before its `Step`, so nothing counts what it has yielded. Opening items are yielded only
    while `step == 0`, closing items before the last `Step`: a run that is killed there repeats them from its last
    checkpoint. After `load_state_dict` the iteration goes on to the same numbers; after the last step it is empty.
    """

    @property
    def network(self) -> Any:
        """The network being fitted (kept with each checkpoint), or None."""

    @property
    def step(self) -> int:
        """Steps done. One count for the whole run: it never goes back, also when one phase follows another."""

    @property
    def epoch(self) -> int:
        """Epochs finished; 0 for what has none."""

    def started(self) -> RunStarted:
        """Totals and sizes, known before the first step."""
