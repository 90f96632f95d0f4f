"""Noised images and DIP's outputs for them after k steps, which every experiment of the explanation uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import Substitution
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.dip.hourglass import FittedHourglass
from dipddpm.core.events import StateDict
from dipddpm.core.images import to_model


@dataclass(frozen=True)
class Noised:
    """Images x0, their noise eps and the noised images xt, (N, C, H, W) in model space, at timesteps t, int64 (N,)."""

    x0: Tensor
    eps: Tensor
    t: Tensor
    xt: Tensor

    @classmethod
    def of(cls, images: Tensor, schedule: Schedule, seed: int, t: int | None = None) -> Noised:
        """Noise uint8 images, all at one `t`, or at evenly spaced timesteps that are assigned in random order."""
        x0 = to_model(images)
        generator = torch.Generator().manual_seed(derive(seed, "noise"))
        even = torch.arange(len(x0)) * len(schedule) // len(x0)
        times = even[torch.randperm(len(x0), generator=generator)] if t is None else torch.full((len(x0),), t)
        eps = torch.randn(x0.shape, generator=generator).to(x0.device)
        times = times.to(x0.device)
        return cls(x0, eps, times, schedule.add_noise(x0, eps, times))

    def __len__(self) -> int:
        return len(self.x0)


class DipStepBank:
    """DIP_k(xt) of noised images for several k, fitted batch by batch from a random input z.

    Each batch is one fit of the `fresh` reading of the substitution hybrid: one hourglass with new random weights and
    an output channel for each image takes k Adam steps toward xt. This one fit gives the outputs for every k.
    """

    def __init__(
        self, noised: Noised, options: Substitution, steps: Sequence[int], *, batch_size: int, seed: int
    ) -> None:
        """Prepare the fits. The number of steps in `options` is ignored; `steps` are the values of k, ascending."""
        self.noised = noised
        self.steps = tuple(steps)
        _, channels, height, width = noised.xt.shape
        shape = (channels, height, width)
        device = noised.xt.device
        self.hourglass = FittedHourglass(
            options, shape, batch_size=batch_size, seed=derive(seed, "bank"), device=device
        )
        self.outputs = noised.xt.new_zeros(len(self.steps), *noised.xt.shape)
        self.images_done = 0
        """Number of images fitted so far."""
        self._counts_done = 0
        """The number of values of k that the current batch has reached."""

    def __len__(self) -> int:
        """Return the number of calls of `fit_next` until all images are fitted."""
        return math.ceil(len(self.noised) / self.hourglass.batch_size) * len(self.steps)

    def fit_next(self) -> float:
        """Fit the current batch up to its next k; return the mean squared distance of its outputs to xt."""
        indices = slice(self.images_done, self.images_done + self.hourglass.batch_size)
        xt = self.noised.xt[indices]
        if self._counts_done == 0:
            self.hourglass.begin_fit()
        last, count = (0, *self.steps)[self._counts_done], self.steps[self._counts_done]
        output = self.hourglass.continue_fit(xt, count - last)
        self.outputs[self._counts_done, indices] = output
        self._counts_done += 1
        if self._counts_done == len(self.steps):
            self.images_done += len(xt)
            self.hourglass.fits += 1
            self._counts_done = 0
        return float((output - xt).square().mean())

    def outputs_after(self, steps: int) -> Tensor:
        """Return DIP_k(xt) of all images for one k, which must be among `steps`."""
        return self.outputs[self.steps.index(steps)]

    def outputs_at(self, indices: Tensor) -> Tensor:
        """Return each image's output at a k of its own; `indices`, int64 (N,), index `steps`."""
        return self.outputs[indices, torch.arange(len(self.noised), device=indices.device)]

    def state_dict(self) -> dict[str, Any]:
        """Return the outputs fitted so far and the hourglass's state."""
        fit = {"counts": self._counts_done, **self.hourglass.fit_state_dict()} if self._counts_done else None
        return {"outputs": self.outputs, "done": self.images_done, "hourglass": self.hourglass.state_dict(), "fit": fit}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a `state_dict` that a bank with the same images and options returned."""
        self.outputs, self.images_done = state["outputs"], state["done"]
        self.hourglass.load_state_dict(state["hourglass"])
        if fit := state.get("fit"):
            self._counts_done = fit["counts"]
            self.hourglass.load_fit_state_dict(fit)
