"""A denoiser, which estimates x0 and eps from any xt for samplers and restorations, and counts its evaluations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from dipddpm.core.config.ddpm import Objective
from dipddpm.core.ddpm.schedule import Schedule, Timestep

Network = Callable[..., Tensor]
"""Maps (xt, t) or (xt, t, label) to a prediction shaped like xt; see `dipddpm.core.ddpm.networks.unet`."""


@dataclass(eq=False)
class Denoiser:
    """An estimator of (x0, eps) of xt, in model space, from a network that predicts eps, x0 or v.

    Classifier-free guidance extrapolates the prediction from unlabelled to labelled by the factor `guidance` (Ho &
    Salimans 2022, eq. 6 with w - 1; 1 is no guidance). Gradients are computed unless the caller turns them off.
    """

    network: Network
    schedule: Schedule
    _: KW_ONLY
    objective: Objective = "eps"
    label: Tensor | None = None
    """The classes to condition on, int64 (N,)."""
    guidance: float = 1.0
    clip: bool = False
    """If True, clip the estimate of x0 to [-1, 1] and recompute eps to match."""
    batch_size: int = 512
    """The number of images that go through the network at a time."""
    input_transform: Callable[[Tensor, Tensor], Tensor] | None = None
    """Maps xt and t to the network's input, which replaces xt."""
    cond: Tensor | None = None
    """Conditioning images, concatenated to xt as more channels, (N, C', H, W)."""
    nfe: int = 0
    """The number of network evaluations for each image so far; a guided call counts twice."""

    def __post_init__(self) -> None:
        if self.guidance != 1 and self.label is None:
            raise ValueError("guidance needs a label")

    def __call__(self, xt: Tensor, t: Timestep) -> tuple[Tensor, Tensor]:
        """Return the estimates of x0 and eps for xt (N, C, H, W); `t` is one timestep for all or int64 (N,)."""
        times = t if isinstance(t, Tensor) else torch.full(xt.shape[:1], t, device=xt.device)
        label = self.label if self.guidance != 0 else None
        predicted = self._predict(xt, times, label)
        if label is not None and self.guidance != 1:
            unlabelled = self._predict(xt, times, None)
            predicted = unlabelled + self.guidance * (predicted - unlabelled)
        x0, eps = self.schedule.split(self.objective, xt, predicted, t)
        if self.clip:
            x0 = x0.clamp(-1, 1)
            eps = self.schedule.predict_eps(xt, x0, t)
        return x0, eps

    def _predict(self, xt: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        self.nfe += 1
        parts = []
        for start in range(0, len(xt), self.batch_size):
            part = slice(start, start + self.batch_size)
            inputs, times = xt[part], t[part]
            if self.input_transform is not None:
                inputs = self.input_transform(inputs, times)
            if self.cond is not None:
                inputs = torch.cat([inputs, self.cond[part]], 1)
            parts.append(self.network(inputs, times) if label is None else self.network(inputs, times, label[part]))
        return torch.cat(parts)
