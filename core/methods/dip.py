"""Restoration by DIP alone: with diffusion, one of the two baselines for every hybrid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.degrade.case import Case
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.dip.ensemble import images_that_fit
from dipddpm.core.dip.fit import DipFit
from dipddpm.core.events import Item, StateDict
from dipddpm.core.methods.base import shift_step


class DipRestorer:
    """The mean of `restarts` DIP fits with different random weights, each stopped without the truth.

    The errors of the fits differ, so their mean is better than any single fit (Ulyanov et al. 2018, section 4).
    `images` is the mean of the finished fits; during the first fit, it is the current restoration of that fit.
    """

    nfe = 0

    def __init__(self, case: Case, dip: DipConfig, *, restarts: int = 1) -> None:
        """Set up the first fit. Raises UserError for a stopping rule that can't work with this noise."""
        self.case = case
        self.dip = dip
        self.restarts = restarts
        self.sum = torch.zeros(case.shape, device=case.y.device)
        self.squares = torch.zeros_like(self.sum)
        self.fits_done = 0
        """Number of finished fits."""
        self.iterations_before = 0
        """Iterations of all finished fits."""
        self.fit = self._begin()

    def __len__(self) -> int:
        return self.restarts * self.dip.iterations

    def __iter__(self) -> Iterator[Item]:
        while self.fits_done < self.restarts:
            for item in self.fit:
                yield shift_step(item, self.iterations_before)
            restored = torch.stack(self.fit.restored)
            self.sum += restored
            self.squares += restored.square()
            self.iterations_before += self.fit.step
            self.fits_done += 1
            if self.fits_done < self.restarts:
                self.fit = self._begin()

    @property
    def images(self) -> Tensor:
        """The mean of the finished fits, or the restoration of the first fit so far; (N, C, H, W), in [0, 1]."""
        return self.sum / self.fits_done if self.fits_done else torch.stack(self.fit.restored)

    @property
    def spread(self) -> Tensor | None:
        """The standard deviation of the finished fits, (N, C, H, W), divisor K - 1; None for fewer than two."""
        if self.fits_done < 2:
            return None
        variance = (self.squares - self.sum.square() / self.fits_done) / (self.fits_done - 1)
        return variance.clamp(min=0).sqrt()

    @property
    def iterations(self) -> int:
        """Iterations of all fits together."""
        return self.iterations_before + (self.fit.step if self.fits_done < self.restarts else 0)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        groups = [list(indices) for indices in self.fit.indices]
        own = {"sum": self.sum, "squares": self.squares, "done": self.fits_done, "before": self.iterations_before}
        return {**own, "groups": groups, "fit": self.fit.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state, in its groups of images: by now, groups of another size might fit in memory."""
        self.sum, self.squares = state["sum"].clone(), state["squares"].clone()
        self.fits_done, self.iterations_before = state["done"], state["before"]
        self.fit = self._begin(state["groups"])
        self.fit.load_state_dict(state["fit"])

    def _begin(self, groups: list[list[int]] | None = None) -> DipFit:
        # After the last fit has ended, a resume rebuilds it, since the state contains it.
        seed = derive(self.case.seed, f"restart {min(self.fits_done, self.restarts - 1)}")
        return dip_fit(self.case, self.dip, seed, groups)


def dip_fit(case: Case, dip: DipConfig, seed: int, groups: list[list[int]] | None = None, *, copies: int = 1) -> DipFit:
    """Build the DIP fit of a case's images, in these groups; by default, in groups that fit in memory.

    If the case consists of `copies` of the same images, one after the other, each copy has its own random weights.
    """
    shape, count = case.shape[1:], case.shape[0] // copies
    if groups is None:
        parts = [list(range(copy * count, (copy + 1) * count)) for copy in range(copies)]
        groups = [group for part in parts for group in in_batches(part, dip, shape, case.y.device)]
    batches = []
    for indices in groups:
        copy = indices[0] // count
        own = derive(seed, f"copy {copy}") if copy else seed
        batches.append(PriorBatch(case.y[indices], case.degradation.select(indices), dip, shape, seed=own))
    return DipFit(batches, groups, iterations=dip.iterations, measure_every=dip.measure_every)


def in_batches(
    indices: list[int], dip: DipConfig, shape: tuple[int, int, int], device: torch.device
) -> list[list[int]]:
    """Divide the indices of images of one shape (C, H, W) into batches that fit in memory."""
    size = dip.batch or images_that_fit(dip, shape, device)
    return [indices[i : i + size] for i in range(0, len(indices), size)]
