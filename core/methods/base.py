"""The protocol that every restoration method implements: plain DIP, plain diffusion and the hybrids."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec
from torch import Tensor

from dipddpm.core import registry
from dipddpm.core.config import DipConfig
from dipddpm.core.config.hybrid import HybridOptions
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.events import Item, Resumable, TrialErrors


class Restorer(Resumable, Protocol):
    """A method applied to one case; iterating the restorer does the work.

    Yields a `Step` for each of its steps, counted from 1, and before a `Step` the items that belong to it
    (`EarlyStopped`, `Message`). Opens no file and has no access to the truth. The state doesn't contain the trained
    network; after `load_state_dict` the restorer resumes exactly.
    """

    @property
    def images(self) -> Tensor:
        """The restoration at the current step: (N, C, H, W), in [0, 1] but not clipped."""
        ...

    @property
    def spread(self) -> Tensor | None:
        """How far the results differ that `images` averages: their standard deviation, (N, C, H, W), in [0, 1].

        For K samples or fits, the divisor is K - 1. None if there are fewer than two, or none yet.
        """
        ...

    @property
    def nfe(self) -> int:
        """Evaluations of the diffusion network so far, for each image, summed over its samples."""
        ...

    @property
    def iterations(self) -> int:
        """Optimiser steps of untrained networks, or of a network's noise, so far, for each image, over all its fits."""
        ...

    def __len__(self) -> int:
        """Return the number of steps in total; stopping rules may end the work earlier."""
        ...


@runtime_checkable
class HasSamples(Protocol):
    """A restorer whose images are the mean of samples of the posterior, all with the same weight."""

    @property
    def samples(self) -> Tensor | None:
        """The current samples, (K, N, C, H, W), in [0, 1] but not clipped; None if there are fewer than two."""
        ...


@runtime_checkable
class HasTrial(Protocol):
    """A restorer that weights candidates by their errors at held-out measurements."""

    @property
    def trial(self) -> TrialErrors | None:
        """The candidates' errors, pooled over the images; None until the trial has ended."""
        ...


def hybrid_restorer(case: Case, prior: TrainedModel | None, options: HybridOptions, dip: DipConfig) -> Restorer:
    """Build the hybrid that the options name, for a case; `prior` may be None only if the hybrid needs no prior.

    Raises UserError for a stopping rule that can't work with this noise, and for a noise level that is needed and can't
    be estimated.
    """
    restorer: Restorer = registry.resolve(options.restorer_path)(case, prior, options, dip)
    return restorer


def shift_step(item: Item, steps: int) -> Item:
    """Return the item with `steps` added to its step; an item that has no step is returned unchanged."""
    return msgspec.structs.replace(item, step=steps + getattr(item, "step")) if hasattr(item, "step") else item  # noqa: B009
