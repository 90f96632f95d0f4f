"""DIP with the tricks of the calibrated hybrid: impulses are detected, and the spectrum of a blur is equalized."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import torch
from torch import Tensor

from dipddpm.core.config.dip import DipConfig
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.degrade.simplify import equalize_spectrum, without_impulses
from dipddpm.core.events import Item, StateDict
from dipddpm.core.methods.base import shift_step
from dipddpm.core.methods.dip import DipRestorer

ITERATIONS = 200
"""Most iterations of each fit, as in the hybrid."""


class EqualDipRestorer:
    """The mean of `restarts` DIP fits to the measurements after the hybrid's tricks.

    A noise level that isn't known is estimated. Impulses are masked where the measurements differ from an `estimate` of
    the images. Without an estimate, this is the result of a plain fit, which isn't part of the mean.
    """

    nfe = 0

    def __init__(self, case: Case, dip: DipConfig, *, restarts: int = 1, estimate: Tensor | None = None) -> None:
        self.case, self.restarts, self.estimate = case, restarts, estimate
        self.dip = msgspec.structs.replace(dip, iterations=min(dip.iterations, ITERATIONS))
        self.first: DipRestorer | None = None
        """The fit that yields the estimate; None if none is needed."""
        if estimate is None and without_impulses(case, torch.zeros(case.shape, device=case.y.device)) is not case:
            self.first = DipRestorer(case, self.dip)
        self.fits = None if self.first else self._begin()

    def __len__(self) -> int:
        return (self.restarts + bool(self.first)) * self.dip.iterations

    def __iter__(self) -> Iterator[Item]:
        if self.first and self.fits is None:
            yield from self.first
            self.estimate = self.first.images
            self.fits = self._begin()
        assert self.fits
        before = self.first.iterations if self.first else 0
        for item in self.fits:
            yield shift_step(item, before)

    @property
    def images(self) -> Tensor:
        """The mean of the finished fits, or before one has ended the current restoration; (N, C, H, W), in [0, 1]."""
        restorer = self.fits or self.first
        assert restorer
        return restorer.images

    @property
    def iterations(self) -> int:
        """Iterations of all fits together."""
        return sum(each.iterations for each in (self.first, self.fits) if each)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        parts = {"first": self.first, "fits": self.fits}
        states = {name: part.state_dict() if part else None for name, part in parts.items()}
        return {**states, "estimate": self.estimate}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.estimate = state["estimate"]
        if self.first:
            self.first.load_state_dict(state["first"])
        if state["fits"]:
            self.fits = self._begin()
            self.fits.load_state_dict(state["fits"])

    def _begin(self) -> DipRestorer:
        known = replace(self.case, degradation=with_noise_level(self.case.y, self.case.degradation))
        cleaned = known if self.estimate is None else without_impulses(known, self.estimate)
        return DipRestorer(equalize_spectrum(cleaned), self.dip, restarts=self.restarts)
