"""The payloads that an experiment yields besides events, and its protocol. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from dipddpm.core.events.base import Event
from dipddpm.core.events.event import Input, RunStarted

StateDict: TypeAlias = Mapping[str, Any]
"""Tensors, builtin values and nested mappings of them, all of which a checkpoint can hold without pickle."""


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """A result in memory that the worker stores as a file. The payload itself is never serialised."""


class Pictures(Payload, frozen=True):
    """Images to store as one PNG: a float tensor in [0, 1], shape (N, C, H, W), laid out in rows of `columns`.

    `name` becomes the file's name; `numbered` appends the step to it.
    """

    name: str
    images: Any
    step: int = 0
    title: str = ""
    columns: int = 8
    panels: tuple[str, ...] = ()
    numbered: bool = False


class RestoredImages(Payload, frozen=True):
    """Restored images (C, H, W) in [0, 1], and the degraded ones, each to store as a PNG of its own size by its name.

    The names are unique and safe as parts of file names.
    """

    names: list[str]
    restored: list[Any]
    degraded: list[Any]
    step: int = 0


class GivenRestored(Payload, frozen=True):
    """The restoration of a given file, to store as a file of the same kind: same depth, transparency and profile.

    `images` are the restorations (C, H, W) of all pictures in `file`, in [0, 1]. `maps` are further pictures to store
    beside them by their names, such as `spread`, each (C, H, W) in [0, 1]. `out` is a path to which the result is
    copied too. `white` and `grey` are the options with which the file was read. `mask` is the file of the missing
    pixels, empty if none are missing: where they were transparent, the result is opaque.
    """

    file: str
    name: str
    images: list[Any]
    mask: str = ""
    maps: dict[str, Any] = {}
    out: str = ""
    white: float = 0.0
    grey: bool = False
    step: int = 0


class BestModel(Payload, frozen=True):
    """A network (any that the registry can rebuild) to store as the best one, with the tensors that belong to it."""

    network: Any
    step: int
    value: float | None
    measure: str = "loss"
    epoch: int = 0
    tensors: StateDict = {}


class Tensors(Payload, frozen=True):
    """Tensors to store as float safetensors without rounding: a measurement or a result."""

    name: str
    tensors: StateDict
    step: int = 0


class Document(Payload, frozen=True):
    """A text, such as a table or a report, to store as a file of this name in the run folder."""

    name: str
    text: str
    step: int = 0


Item: TypeAlias = Event | Payload


class Resumable(Protocol):
    """An iterable piece of work whose state can be stored after a `Step`."""

    def __iter__(self) -> Iterator[Item]: ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state from which the work resumes exactly; valid after a `Step`."""

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned."""


class Experiment(Resumable, Protocol):
    """The work of a run; the worker or a notebook iterates it. It opens no file and prints nothing.

    All items of a step come before its `Step`, so an experiment need not count the items it has yielded. Opening items
    are yielded only while `step == 0`, closing items before the last `Step`: a run killed there yields them again from
    its last checkpoint. After `load_state_dict` the iteration resumes exactly; after the last step it yields nothing.
    """

    @property
    def network(self) -> Any:
        """The network being fitted, which is stored with each checkpoint; None if there is none."""

    @property
    def step(self) -> int:
        """Steps done so far. One count covers the whole run, so it grows across phases too."""

    @property
    def epoch(self) -> int:
        """Epochs finished; 0 for work without epochs."""

    @property
    def inputs(self) -> Sequence[Input]:
        """Everything outside the config and the program that the work computes with.

        The opening items include these events in this order. On a resume, the worker compares them with the log.
        """

    def started(self) -> RunStarted:
        """Return the opening event with the totals and sizes that are known before the first step."""
