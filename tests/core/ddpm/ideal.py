"""Ideal denoisers in closed form, against which samplers and restorations are tested."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dipddpm.core.config.ddpm import Objective
from dipddpm.core.ddpm.schedule import Schedule


class Gaussian(nn.Module):
    """The ideal denoiser for data that are N(mean, std^2) in every pixel."""

    def __init__(self, schedule: Schedule, mean: float, std: float, objective: Objective = "eps") -> None:
        super().__init__()
        self.schedule, self.mean, self.std, self.objective = schedule, mean, std, objective
        self.calls = 0

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        a = self.schedule.alpha_bar.to(xt)[t].view(-1, 1, 1, 1)
        eps = (1 - a).sqrt() * (xt - a.sqrt() * self.mean) / (a * self.std**2 + 1 - a)
        x0 = self.mean + a.sqrt() * self.std**2 * (xt - a.sqrt() * self.mean) / (a * self.std**2 + 1 - a)
        return self.schedule.target(self.objective, x0, eps, t)


class Finite(nn.Module):
    """The ideal denoiser for data that are one of these images (M, C, H, W), all equally likely; predicts v."""

    def __init__(self, schedule: Schedule, images: Tensor) -> None:
        super().__init__()
        self.schedule, self.images = schedule, images

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        a = self.schedule.alpha_bar.to(xt)[t].view(-1, 1, 1, 1)
        distance = (xt[:, None] - a.sqrt()[:, None] * self.images).square().flatten(2).sum(2)
        weight = torch.softmax(-distance / (2 * (1 - a.view(-1, 1))), 1)
        x0 = torch.einsum("nm,mchw->nchw", weight, self.images)
        return self.schedule.target("v", x0, self.schedule.predict_eps(xt, x0, t), t)
