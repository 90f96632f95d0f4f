"""A trained network as what samplers and restorations need: x0 and eps for any xt, with every evaluation counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from dipddpm.core.config.ddpm import Objective
from dipddpm.core.ddpm.schedule import Schedule, Timestep

Network = Callable[..., Tensor]
"""(xt, t) or (xt, t, label) to a prediction like xt; see `dipddpm.core.ddpm.networks.unet`."""


@dataclass(eq=False)
class Denoiser:
    """Estimates (x0, eps) of xt, in model space, from a network that predicts eps, x0 or v.

    A guided prediction moves from that without a class to `guidance` times as far as that with it (Ho & Salimans 2022,
    eq. 6 with w - 1; 1 is no guidance). Gradients flow wherever the caller lets them.
    """

    network: Network
    schedule: Schedule
    _: KW_ONLY
    objective: Objective = "eps"
    label: Tensor | None = None
    """The classes asked for, int64 (N,)."""
    guidance: float = 1.0
    clip: bool = False
    """Whether the estimate of x0 is clipped to [-1, 1] and eps made to agree."""
    batch_size: int = 512
    """How many images go through the network at a time."""
    input_transform: Callable[[Tensor, Tensor], Tensor] | None = None
    """From xt and t to what the network sees in place of xt."""
    cond: Tensor | None = None
    """What the network sees beside xt, as more channels: (N, C', H, W)."""
    nfe: int = 0
    """How often the network has seen each image; a guided call counts twice."""

    def __post_init__(self) -> None:
        if self.guidance != 1 and self.label is None:
            raise ValueError("guidance needs a label")

    def __call__(self, xt: Tensor, t: Timestep) -> tuple[Tensor, Tensor]:
        """x0 and eps for xt (N, C, H, W); `t` is one timestep for all or int64 (N,)."""
        times = t if isinstance(t, Tensor) else torch.full(xt.shape[:1], t, device=xt.device)
        label = self.label if self.guidance != 0 else None
        predicted = self._predict(xt, times, label)
        if label is not None and self.guidance != 1:
            without = self._predict(xt, times, None)
            predicted = without + self.guidance * (predicted - without)
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
