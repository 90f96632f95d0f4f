"""What an experiment yields beside events: tensors and texts in memory, which the worker stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

StateDict: TypeAlias = Mapping[str, Any]
"""Tensors, plain values and nested mappings of them: what a checkpoint can hold without pickle."""


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
