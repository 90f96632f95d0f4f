"""Starts of a diffusion sampler: an image for each measurement, and how much noise hides its error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dipddpm.core.config.dip import DipConfig
from dipddpm.core.degrade import BlockMean, CircularBlur, Mask, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.events import Item, StateDict
from dipddpm.core.methods.base import HasSamples, Restorer, shift_step
from dipddpm.core.methods.budget import Clock, Cost, Stopwatch
from dipddpm.core.methods.classical.impulses import detect_impulses
from dipddpm.core.methods.classical.table import CLASSICS
from dipddpm.core.methods.closed_form import ClosedFormRestorer
from dipddpm.core.methods.dip import DipRestorer

LEAST = 1 / 255
"""Least roughness, on the scale [0, 1]."""


def start_restorer(name: str, case: Case, dip: DipConfig) -> Restorer:
    """Build the restorer of a start: `pinv` (A+ y), `classic` (the classic method for the task) or `dip` (one fit).

    The noise level is estimated if it isn't known. Raises UserError for a level that can't be estimated.
    """
    if name == "pinv":
        return ClosedFormRestorer(case, lambda c: c.degradation.operator.pinv(c.y))
    if name == "classic":
        known = detect_impulses(replace(case, degradation=with_noise_level(case.y, case.degradation)))
        return ClosedFormRestorer(known, CLASSICS[classic_for(known)].restore)
    return DipRestorer(case, dip)


def classic_for(case: Case) -> str:
    """Return the name of the classic method that restores a case, whose impulses are detected where they can be."""
    operator, noise = case.degradation.operator, case.degradation.noise
    if isinstance(operator, Mask):
        return "kriging"
    if isinstance(operator, BlockMean):
        return "bicubic"
    if isinstance(operator, CircularBlur):
        return "wiener"
    return "median" if isinstance(noise, SaltAndPepper) else "nl-bayes"


def noise_levels(case: Case, start: Tensor) -> Tensor:
    """Return the noise level (N,) at which a sampler begins at images `start` (N, C, H, W), on the scale [0, 1].

    It is the roughness of an image, which needs no truth, and estimates the error of any start: what a start misses is
    what changes from pixel to pixel. On twelve images each of the last training images and of glyphs, patches and
    leaves from number 100,216 on, the root mean square error of kriging was 0.66 to 0.72 times the roughness where 70%
    of the pixels were missing, and that of bicubic interpolation 0.72 to 0.90 times at a fourth of the resolution.

    The roughness is the root mean square difference of neighbouring measured values, without the noise's part; or that
    between measured values and the start's values beside them, if this is larger, as for A+ y, which is 0 where pixels
    are missing.
    """
    return torch.maximum(roughness(case), _jumps(case, start))


def normalize(images: Tensor, start: Tensor, levels: Tensor) -> Tensor:
    """Return (images - start) / levels, (N, C, H, W), for `levels` (N,) on the scale of the images.

    This is the conditional normalisation of warm starts (WSD, arXiv 2507.09212) with the start as the mean and one
    level for each image, from `noise_levels`; the paper learns the mean and a level for each pixel with a network. What
    is returned has no range, but a standard deviation of about 0.7, like images in model space.
    """
    return (images - start) / levels.view(-1, 1, 1, 1)


def roughness(case: Case) -> Tensor:
    """Return the root mean square difference of neighbouring measured values of each image, (N,), without noise."""
    measured = case.degradation.operator.measured(case.y)
    variance = case.degradation.expected_residual(case.y)
    noise = 0.0 if variance is None else 2 * variance
    square = _mean_square_difference(case.y, lambda one, other: one * other, measured)
    return (square - noise).clamp(min=LEAST**2).sqrt()


def _jumps(case: Case, start: Tensor) -> Tensor:
    """Return the root mean square difference of measured pixels and the start's missing pixels beside them, (N,)."""
    measured = case.degradation.operator.measured(case.y)
    if case.y.shape != start.shape:
        return torch.zeros(len(start), device=start.device)
    composed = torch.where(measured > 0, case.y, start)
    return _mean_square_difference(composed, lambda one, other: (one != other).to(start.dtype), measured).sqrt()


def _mean_square_difference(y: Tensor, counts: Callable[[Tensor, Tensor], Tensor], measured: Tensor) -> Tensor:
    """Return the mean square difference of each image's neighbours for which `counts` of their masks is 1, (N,)."""
    squares, total = y.new_zeros(len(y)), y.new_zeros(len(y))
    for axis in (-1, -2):
        length = y.shape[axis] - 1
        both = counts(measured.narrow(axis, 1, length), measured.narrow(axis, 0, length))
        squares += (y.diff(dim=axis).square() * both).flatten(1).sum(1)
        total += both.flatten(1).sum(1)
    return squares / total.clamp(min=1)


class Start:
    """A start that several samplers of a case share: it is computed once, and its seconds count for each of them."""

    def __init__(self, make: Callable[[], Restorer], clock: Clock) -> None:
        self.make, self.clock = make, clock
        self.cost: Cost | None = None
        """The images (N, C, H, W) in [0, 1] and what they cost; None until they are computed."""
        self._stopwatch: Stopwatch | None = None

    def __iter__(self) -> Iterator[Item]:
        if self.cost is None:
            self._stopwatch = self._stopwatch or Stopwatch(self.make, self.clock)
            yield from self._stopwatch
            self.cost, self._stopwatch = self._stopwatch.cost(), None

    @property
    def images(self) -> Tensor:
        """The start, or its restoration so far, (N, C, H, W). Raises ValueError before it is begun."""
        if self.cost is not None:
            return self.cost.images
        if self._stopwatch is None:
            raise ValueError("the start isn't begun")
        return self._stopwatch.restorer.images

    @property
    def steps_done(self) -> int:
        """Iterations of the start's fit so far."""
        if self.cost is not None:
            return self.cost.iterations
        return self._stopwatch.restorer.iterations if self._stopwatch else 0

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {
            "cost": dict(vars(self.cost)) if self.cost else None,
            "work": self._stopwatch.state_dict() if self._stopwatch else None,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.cost = Cost(**state["cost"]) if state["cost"] else None
        self._stopwatch = None
        if state["work"]:
            self._stopwatch = Stopwatch(self.make, self.clock)
            self._stopwatch.load_state_dict(state["work"])


class StartedRestorer:
    """A sampler that begins at a start; `make` builds it from the start's images (N, C, H, W), in [0, 1].

    Without `make`, the restoration is the start itself. If another sampler has computed the start before, its seconds
    are `seconds_before`.
    """

    def __init__(self, start: Start, make: Callable[[Tensor], Restorer] | None = None) -> None:
        self.start, self.make = start, make
        self.sampler: Restorer | None = None
        """The sampler; None until the start is complete, and without `make`."""
        self.seconds_before = start.cost.seconds if start.cost else 0.0
        """Seconds of the start, if it was complete before this restorer was made; else they count with its steps."""

    def __len__(self) -> int:
        return self.start.steps_done + len(self.sampler or ())

    def __iter__(self) -> Iterator[Item]:
        yield from self.start
        if self.make is not None:
            self.sampler = self.sampler or self._begin()
            for item in self.sampler:
                yield shift_step(item, self.iterations)

    @property
    def images(self) -> Tensor:
        """The sampler's restoration (N, C, H, W), in [0, 1] but not clipped; before it begins, the start's images."""
        return self.sampler.images if self.sampler is not None else self.start.images

    @property
    def samples(self) -> Tensor | None:
        """The samples, (K, N, C, H, W), in [0, 1] but not clipped; None if there are fewer than two, or none yet."""
        return self.sampler.samples if isinstance(self.sampler, HasSamples) else None

    @property
    def spread(self) -> Tensor | None:
        """The standard deviation of the samples, (N, C, H, W), in [0, 1]; None without samples."""
        return self.sampler.spread if self.sampler is not None else None

    @property
    def nfe(self) -> int:
        """Network evaluations for each image, summed over its samples."""
        return self.sampler.nfe if self.sampler is not None else 0

    @property
    def iterations(self) -> int:
        """Iterations of the start's fit."""
        return self.start.steps_done

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the trained network; valid after a `Step`."""
        sampler = self.sampler.state_dict() if self.sampler is not None else None
        return {"start": self.start.state_dict(), "sampler": sampler, "before": self.seconds_before}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.start.load_state_dict(state["start"])
        self.seconds_before = state["before"]
        if state["sampler"] is not None:
            self.sampler = self._begin()
            self.sampler.load_state_dict(state["sampler"])

    def _begin(self) -> Restorer:
        assert self.start.cost is not None and self.make is not None
        return self.make(self.start.cost.images)
