"""A trained network as what samplers and restorations need: x0 and eps for any xt, with every evaluation counted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dipddpm.core.config.ddpm import Objective
from dipddpm.core.ddpm.objective import split
from dipddpm.core.ddpm.schedule import Schedule, Timestep

Network = Callable[..., Tensor]
"""(xt, t) or (xt, t, label) to a prediction like xt; see `dipddpm.core.ddpm.networks.unet`."""


class Denoiser:
    """Estimates (x0, eps) of xt, in model space, from a network that predicts eps, x0 or v.

    `nfe` counts how often the network has seen each image; a guided call counts twice. At most `batch_size` images go
    through the network at a time. `label`, int64 (N,), asks for classes; `guidance` w then moves the prediction from
    that without a class to w times as far as that with it (Ho & Salimans 2022, eq. 6 with w - 1; 1 is no guidance).
    With `clip`, the estimate of x0 is clipped to [-1, 1] and eps made to agree. `view` is what the network sees in
    place of xt, and `beside`, (N, C', H, W), what it sees beside it as more channels. Gradients flow wherever the
    caller lets them.
    """

    def __init__(
        self,
        network: Network,
        schedule: Schedule,
        *,
        objective: Objective = "eps",
        label: Tensor | None = None,
        guidance: float = 1.0,
        clip: bool = False,
        batch_size: int = 512,
        input_transform: Callable[[Tensor, Tensor], Tensor] | None = None,
        cond: Tensor | None = None,
    ) -> None:
        if guidance != 1 and label is None:
            raise ValueError("guidance needs a label")
        self.network = network
        self.schedule = schedule
        self.objective: Objective = objective
        self.label = label
        self.guidance = guidance
        self.clip = clip
        self.batch_size = batch_size
        self.input_transform = input_transform
        self.cond = cond
        self.nfe = 0

    def __call__(self, xt: Tensor, t: Timestep) -> tuple[Tensor, Tensor]:
        """x0 and eps for xt (N, C, H, W); `t` is one timestep for all or int64 (N,)."""
        times = t if isinstance(t, Tensor) else torch.full(xt.shape[:1], t, device=xt.device)
        chosen = self.label is not None and self.guidance != 0
        predicted = self._predict(xt, times, self.label if chosen else None)
        if chosen and self.guidance != 1:
            without = self._predict(xt, times, None)
            predicted = without + self.guidance * (predicted - without)
        x0, eps = split(self.objective, self.schedule, xt, predicted, t)
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
