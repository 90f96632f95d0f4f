"""What happened: typed records, one JSON line each, and the in-memory payloads that ride beside them. Loads no torch.

Whatever is fitted, trained or sampled yields these. An `Event` goes to the log as it is; a `Payload` carries tensors,
is stored by the worker, and leaves an event that says where. A reader skips kinds and fields that it doesn't know.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import msgspec

from core import plain

SCHEMA = 1
State: TypeAlias = Mapping[str, Any]
"""Tensors, plain values and nested mappings of them: what a checkpoint can hold without pickle."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """One line of events.jsonl. `time`, in seconds since 1970, and the schema version `v` are stamped in writing."""

    time: float = 0.0
    v: int = 0
    offset: int = 0
    """Where the line stands in the log, in bytes; stamped by the log."""


class RunQueued(Event, tag="run_queued", frozen=True):
    """The worker waits for a slot on its device; `ahead` runs are served first."""

    device: str
    ahead: int = 0


class RunStarted(Event, tag="run_started", frozen=True):
    """The work begins. A total that isn't known beforehand is 0; `images` is what the run learns from or restores."""

    kind: str
    method: str
    device: str
    device_name: str = ""
    epochs: int = 0
    steps: int = 0
    images: int = 0
    parameters: int = 0


class RunResumed(Event, tag="run_resumed", frozen=True):
    """The work goes on after a stop or a crash; what stands before and is of a later step than `from_step` is void.

    Several records may be of that very step, such as an epoch's last step, its best model and its end: of these, the
    ones from `from_offset` on, where the log ended when the checkpoint was made, are void and will be written again.
    """

    from_step: int
    from_offset: int | None = None
    from_epoch: int = 0
    device: str = ""


class DataLoaded(Event, tag="data_loaded", frozen=True):
    """Which images the run uses, by the hash of their contents."""

    dataset: str
    split: str
    images: int
    sha256: str
    source: str = ""


class PriorLoaded(Event, tag="prior_loaded", frozen=True):
    """Which trained model the run uses, by the id of the run that trained it and the hash of its file."""

    run: str
    sha256: str
    parameters: int = 0


class Step(Event, tag="step", frozen=True):
    """An optimiser or sampler step. The log keeps a few a second of them."""

    step: int
    epoch: int = 0
    loss: float | None = None
    lr: float | None = None
    images_per_second: float | None = None


class EpochFinished(Event, tag="epoch_finished", frozen=True):
    """A pass over the training images. `best` is set when the model of this epoch has been stored as the best.

    `bands` is the error of eps in ten equal parts of the timesteps, the least noisy first: on held-out images, or on
    as many training images where none are held out. `held_out` is the error on the held-out images that the best model
    is chosen by: the mean of the bands, unless the method chooses by another one.
    """

    epoch: int
    step: int
    loss: float
    best: bool = False
    held_out: float | None = None
    bands: list[float] = []
    lr: float | None = None
    seconds: float = 0.0
    images_per_second: float | None = None


class BestModelStored(Event, tag="best_model_stored", frozen=True):
    """The best model so far is safely on disk. `measure` names what `value` is: loss, held_out or the stopping rule."""

    step: int
    value: float
    file: str
    sha256: str
    measure: str = "loss"
    epoch: int = 0


class CheckpointStored(Event, tag="checkpoint_stored", frozen=True):
    """All that resuming needs is safely on disk."""

    step: int
    file: str
    sha256: str
    epoch: int = 0


class PsnrMeasured(Event, tag="psnr_measured", frozen=True):
    """PSNR in dB against the truth, and the fit's own loss, for each image and on the mean.

    `averaged` is the PSNR of the running average of outputs, where one is kept.
    """

    step: int
    psnr: list[float]
    mean: float
    loss: list[float] = []
    ssim: list[float] = []
    averaged: list[float] = []


class EarlyStopped(Event, tag="early_stopped", frozen=True):
    """A rule that doesn't know the truth stopped the fit of one image at `at`; `psnr` is what the image has there."""

    step: int
    image: int
    at: int
    rule: str
    psnr: float | None = None


class StopsCompared(Event, tag="stops_compared", frozen=True):
    """At the end of a fit, for each image in order: what the truth-free stop gave, and what was possible.

    `psnr` and `ssim` are those of the image at the stop, iteration `at`; `peak` is the best PSNR that the restoration
    ever had, at `peak_at`, known only with the truth; `final` is that of the last iteration. The gap is peak - psnr.
    """

    step: int
    rule: str
    at: list[int]
    psnr: list[float]
    peak: list[float]
    peak_at: list[int]
    final: list[float]
    ssim: list[float] = []


class ImageSaved(Event, tag="image_saved", frozen=True):
    """A PNG was written. `file` is relative to the run folder; `panels` names what is shown, in order.

    Its images lie in rows of `columns`; 0 where the log doesn't tell, as those of older runs.
    """

    file: str
    name: str
    step: int = 0
    title: str = ""
    panels: list[str] = []
    columns: int = 0


class SamplesEvaluated(Event, tag="samples_evaluated", frozen=True):
    """A distance between samples and a reference, with the protocol that gives it a meaning."""

    step: int
    measure: str
    value: float
    samples: int
    protocol: str
    nfe: int = 0


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
    nfe: int = 0
    iterations: int = 0
    seconds: float = 0.0
    step: int = 0
    set: str = ""
    seed: int = 0
    runs: int = 1
    budget_of: str = ""
    recognised: list[bool] = []


class Message(Event, tag="message", frozen=True):
    """A remark for people. `level` is info or warning."""

    text: str
    level: str = "info"


class RunFinished(Event, tag="run_finished", frozen=True):
    """All that was asked for is done."""

    seconds: float
    step: int = 0


class RunFailed(Event, tag="run_failed", frozen=True):
    """The run ended by an error; `hint` says what to do about it."""

    error: str
    hint: str
    step: int = 0


class RunStopped(Event, tag="run_stopped", frozen=True):
    """Somebody asked the run to stop, and it did, with a checkpoint."""

    reason: str
    step: int = 0


AnyEvent: TypeAlias = (
    RunQueued
    | RunStarted
    | RunResumed
    | DataLoaded
    | PriorLoaded
    | Step
    | EpochFinished
    | BestModelStored
    | CheckpointStored
    | PsnrMeasured
    | EarlyStopped
    | StopsCompared
    | ImageSaved
    | SamplesEvaluated
    | RestorationScored
    | Message
    | RunFinished
    | RunFailed
    | RunStopped
)
ENDS = (RunFinished, RunFailed, RunStopped)


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Something in memory that the worker stores. Never serialised."""


class Pictures(Payload, frozen=True):
    """Images to be kept as PNG: float tensor in [0, 1], shape (N, C, H, W), laid out in rows of `columns`.

    `name` becomes the file's name; with `numbered`, the step is added to it so that earlier ones are kept.
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
    tensors: State = {}


class Tensors(Payload, frozen=True):
    """Tensors to be kept as float safetensors, as they were used: a measurement, a result."""

    name: str
    tensors: State
    step: int = 0


class Document(Payload, frozen=True):
    """A text to be kept as a file of this name in the run folder: a table, a report."""

    name: str
    text: str


Item: TypeAlias = Event | Payload


class Experiment(Protocol):
    """What the worker carries out, and what a notebook can iterate over just the same.

    Opens no file and prints nothing. `state_dict` and `load_state_dict` are valid between two items; after
    `load_state_dict` the iteration goes on from there, to the same numbers as if it had never stopped.
    """

    @property
    def network(self) -> Any:
        """The network being fitted (kept with each checkpoint), or None."""
        ...

    @property
    def step(self) -> int:
        """Steps done. One count for the whole run: it never goes back, also when one phase follows another."""
        ...

    @property
    def epoch(self) -> int:
        """Epochs finished; 0 for what has none."""
        ...

    def started(self) -> RunStarted:
        """Totals and sizes, known before the first step."""
        ...

    def __iter__(self) -> Iterator[Item]: ...

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs."""
        ...

    def load_state_dict(self, state: State) -> None:
        """The inverse of `state_dict`."""
        ...


E = TypeVar("E", bound=Event)


def stamped(event: E) -> E:
    """The event with the schema's version and, unless it has one, the time."""
    return msgspec.structs.replace(event, time=event.time or time.time(), v=SCHEMA)


def encode(event: Event) -> bytes:
    """One JSON line with its newline, stamped."""
    return plain.dump(stamped(event)) + b"\n"


def decode(line: bytes) -> AnyEvent | None:
    """The event of a line; None for a kind that this version doesn't know, or for a line that is no event."""
    try:
        return cast(AnyEvent, plain.load(line, cast(type, AnyEvent)))
    except (ValueError, RecursionError):
        return None
