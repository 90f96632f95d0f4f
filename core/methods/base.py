"""What every restoration method is given, and what it offers: plain DIP, plain diffusion and the hybrids alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from dipddpm.core.degrade import Degradation
from dipddpm.core.events import Item, StateDict


@dataclass(frozen=True)
class Case:
    """Measurements of N images of one size, as far as a method may know them. The truth is not among them."""

    y: Tensor
    """The measurements, never clipped, on the device that the work is done on."""
    degradation: Degradation
    """How they were made; where the noise level isn't told, its noise says so (`expected_residual` is None)."""
    shape: tuple[int, int, int, int]
    """(N, C, H, W) of the images wanted."""
    seed: int = 0
    """Of the method's own random draws."""


class Restorer(Protocol):
    """A method at work on a case, as something that one iterates.

    Yields a `Step` for each of its steps, counted from 1, and what else there is to tell (`EarlyStopped`, `Message`);
    opens no file and sees no truth. After `load_state_dict`, valid between two items, it goes on to the same numbers.
    """

    @property
    def images(self) -> Tensor:
        """What it would return now: (N, C, H, W), in [0, 1] but not clipped."""
        ...

    @property
    def nfe(self) -> int:
        """Evaluations of the diffusion network so far, for each image, all of them counted."""
        ...

    @property
    def iterations(self) -> int:
        """Optimiser steps of untrained networks so far, for each image, all its fits together."""
        ...

    def __len__(self) -> int:
        """Steps in all, at most."""
        ...

    def __iter__(self) -> Iterator[Item]: ...

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs but the trained network."""
        ...

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        ...
