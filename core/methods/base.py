"""What every restoration method offers: plain DIP, plain diffusion and the hybrids alike."""

from __future__ import annotations

from typing import Protocol

import msgspec
from torch import Tensor

from dipddpm.core import registry
from dipddpm.core.config import DipConfig
from dipddpm.core.config.hybrid import HybridOptions
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.events import Item, Resumable


class Restorer(Resumable, Protocol):
    """A method at work on a case, as something that one iterates.

    Yields a `Step` for each of its steps, counted from 1, and before it what belongs to the step (`EarlyStopped`,
    `Message`); opens no file and sees no truth. The state lacks the trained network; after `load_state_dict` it goes on
    to the same numbers.
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


def hybrid_restorer(case: Case, prior: TrainedModel | None, options: HybridOptions, dip: DipConfig) -> Restorer:
    """Put the hybrid of these options to work on a case; `prior` is None only for one that needs none.

    Raises UserError for a stopping rule that can't work with this noise, and for a noise level that is needed and can't
    be estimated.
    """
    made: Restorer = registry.resolve(options.restorer_path)(case, prior, options, dip)
    return made


def shift_step(item: Item, steps: int) -> Item:
    """Return the same item, so many steps later."""
    return msgspec.structs.replace(item, step=steps + getattr(item, "step")) if hasattr(item, "step") else item  # noqa: B009
