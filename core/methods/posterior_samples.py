"""Samples of the posterior of many images, drawn part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.posterior import Restoration
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.events import Item, StateDict
from dipddpm.core.images import to_unit
from dipddpm.core.methods.base import shift_step

PART = 100
"""Largest number of samples that are drawn together, unless an image has more: MMPS stores all their activations."""


class PosteriorSamples:
    """`samples` restorations of each image by a method of `ddpm.posterior.METHODS`, and their mean.

    Unlike `DdpmRestorer`, it draws the samples of a part of the images at a time, so that thousands of images fit into
    memory. If the noise level is unknown, it is estimated from the measurements.
    """

    iterations = 0

    def __init__(self, case: Case, model: TrainedModel, *, method: str, steps: int, samples: int = 1) -> None:
        """Set up the first part. Raises UserError for a noise level that can't be estimated."""
        self.case = replace(case, degradation=with_noise_level(case.y, case.degradation))
        self.model, self.method, self.steps, self.count = model, method, min(steps, len(model.schedule)), samples
        self.drawn = torch.zeros(case.shape[0], samples, *case.shape[1:], device=case.y.device)
        """The samples (N, K, C, H, W), in [0, 1] but not clipped; zero for parts that are not begun."""
        self.index = 0
        """Index of the current part; the number of parts at the end."""
        size = max(1, PART // samples)
        self.parts = [list(range(i, min(i + size, case.shape[0]))) for i in range(0, case.shape[0], size)]
        self.nfe = 0
        self._sampling = self._begin()

    def __len__(self) -> int:
        return len(self.parts) * len(self._sampling)

    def __iter__(self) -> Iterator[Item]:
        while self.index < len(self.parts):
            if self._sampling.steps_done == len(self._sampling):
                self._sampling = self._begin()
            for item in self._sampling:
                xt = self._sampling.xt.view(-1, self.count, *self.case.shape[1:])
                self.drawn[self.parts[self.index]] = to_unit(xt)
                before, self.nfe = self.index * len(self._sampling), self._sampling.nfe
                self.index += self._sampling.steps_done == len(self._sampling)
                yield shift_step(item, before)

    @property
    def images(self) -> Tensor:
        """The means of the samples (N, C, H, W), in [0, 1] but not clipped."""
        return self.drawn.mean(1)

    @property
    def samples(self) -> Tensor | None:
        """The samples, (K, N, C, H, W), in [0, 1] but not clipped; None if there is only one of each image."""
        return None if self.count < 2 else self.drawn.movedim(1, 0)

    @property
    def spread(self) -> Tensor | None:
        """The standard deviation of the samples, (N, C, H, W), in [0, 1], with the divisor K - 1; None for one."""
        return None if (samples := self.samples) is None else samples.std(0)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs besides the network; valid after a `Step`."""
        begun = self.parts[: self.index + 1]
        count = begun[-1][-1] + 1
        return {"drawn": self.drawn[:count], "index": self.index, "nfe": self.nfe, "part": self._sampling.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned, with the same network."""
        self.drawn[: len(state["drawn"])] = state["drawn"]
        self.index, self.nfe = state["index"], state["nfe"]
        ended = state["part"]["done"] == len(self._sampling)
        self._sampling = self._begin(self.index - ended)
        self._sampling.load_state_dict(state["part"])

    def _begin(self, index: int | None = None) -> Restoration:
        """Begin the current part, or the one at `index`."""
        number = self.index if index is None else index
        case = self.case.select(self.parts[number])
        return Restoration(
            self.method,
            self.model.denoiser(),
            case.y,
            case.degradation,
            case.shape,
            steps=self.steps,
            samples=self.count,
            seed=derive(case.seed, f"posterior {number}"),
        )
