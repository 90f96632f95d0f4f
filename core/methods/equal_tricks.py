"""Baselines with the tricks of the calibrated hybrid: detected impulses, an equalized spectrum, an estimated level."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
from torch import Tensor

from dipddpm.core.config.dip import DipConfig
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.degrade.simplify import equalize_spectrum, reproduce_exact
from dipddpm.core.events import Item, StateDict
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.classical.impulses import detect_impulses
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer

ITERATIONS = 200
"""Most iterations of each DIP fit to a case after the tricks."""


class EqualRestorer:
    """A method that restores a case after the tricks, and reproduces measurements without noise exactly.

    A noise level that isn't known is estimated, and detected impulses become missing pixels.
    """

    def __init__(self, case: Case, make: Callable[[Case], Restorer]) -> None:
        """Set up the method that `make` builds. Raises UserError for a noise level that can't be estimated."""
        self.case = detect_impulses(replace(case, degradation=with_noise_level(case.y, case.degradation)))
        self.restorer = make(self.case)

    def __len__(self) -> int:
        return len(self.restorer)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.restorer)

    @property
    def images(self) -> Tensor:
        """The current restoration (N, C, H, W), in [0, 1] but not clipped."""
        return reproduce_exact(self.restorer.images, self.case)

    @property
    def nfe(self) -> int:
        """Evaluations of the diffusion network so far, for each image, summed over its samples."""
        return self.restorer.nfe

    @property
    def iterations(self) -> int:
        """Iterations of all fits together."""
        return self.restorer.iterations

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the constructor's arguments; valid after a `Step`."""
        return self.restorer.state_dict()

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.restorer.load_state_dict(state)


def equal_dip(case: Case, dip: DipConfig, restarts: int = 1) -> EqualRestorer:
    """Build the mean of `restarts` DIP fits after the tricks; the spectrum of a blur is equalized, too."""
    short = msgspec.structs.replace(dip, iterations=min(dip.iterations, ITERATIONS))
    return EqualRestorer(case, lambda known: DipRestorer(equalize_spectrum(known), short, restarts=restarts))


def equal_ddpm(case: Case, prior: TrainedModel, samples: int = 1) -> EqualRestorer:
    """Build the mean of `samples` diffusion restorations, by the best method for the task, after the tricks.

    An equalized spectrum isn't among them. With a blur of 1.5 pixels and noise of 2 grey levels, it changed the mean of
    two samples of DDNM+, DiffPIR and MMPS by -0.1 to -0.4 dB, on six training images and six patches from number
    100,000 on: samplers allow for the noise and the gain of each frequency already.
    """
    return EqualRestorer(case, lambda known: DdpmRestorer(known, prior, samples=samples))
