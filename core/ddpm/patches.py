"""A denoiser for pictures of any size and number of channels, from a network that was trained on small patches."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.schedule import Timestep

STRIDE = 0.75
"""The distance between neighbouring patches, as a share of their side."""


@dataclass(eq=False)
class PatchDenoiser(Denoiser):
    """A denoiser that works on overlapping patches of the network's `shape` (C, P, P), and blends their estimates.

    The weights of a patch fall towards its border. The grid of patches depends on the timestep, so that the steps of a
    sampling don't all have their seams in the same places. A picture that is smaller than a patch is one patch.

    The planes of a picture with another number of channels are denoised one by one. A plane y with noise of level s
    becomes C channels y + e_i, where var(e_i) = (C - 1) s^2 and cov(e_i, e_j) = -s^2. So the channels have
    *independent* noise, of level sqrt(C) s, as the network has learnt it, and their mean is exactly y: nothing is lost
    when the estimates are averaged. e depends on the timestep and the size alone, so equal calls give equal estimates.

    An evaluation of all patches counts as one evaluation for each image.
    """

    _: KW_ONLY
    shape: tuple[int, int, int]
    batch_size: int = 64

    def __call__(self, xt: Tensor, t: Timestep) -> tuple[Tensor, Tensor]:
        """Return the estimates of x0 and eps for xt (N, C', H, W); `t` is one timestep for all or int64 (N,)."""
        times = t if isinstance(t, Tensor) else torch.full(xt.shape[:1], t, device=xt.device)
        evaluations, channels = self.nfe, self.shape[0]
        if xt.shape[1] == channels:
            x0 = self._blend(xt, times)
        else:
            planes = xt.flatten(0, 1).unsqueeze(1)
            inputs, new_times = self._independent_channels(planes, times.repeat_interleave(xt.shape[1]))
            x0 = self._blend(inputs, new_times).mean(1).view_as(xt)
        self.nfe = evaluations + 1
        if self.clip:
            x0 = x0.clamp(-1, 1)
        return x0, self.schedule.predict_eps(xt, x0, times)

    def _independent_channels(self, planes: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return the C channels y + e_i of planes (N, 1, H, W), as xt of the returned timesteps."""
        channels = self.shape[0]
        inputs, new_times = [], []
        for plane, t in zip(planes, times.tolist(), strict=True):
            sigma = self.schedule.sigma[t].item()
            later = self.schedule.timestep(channels**0.5 * sigma)
            # Where no timestep has exactly sqrt(C) times the level, the channels' noise is very slightly correlated.
            ratio = max((self.schedule.sigma[later].item() / sigma) ** 2 - 1, 0) / max(channels - 1, 1)
            generator = torch.Generator(plane.device).manual_seed(derive(t, "independent channels"))
            size = (channels, *plane.shape[1:])
            drawn = torch.randn(size, generator=generator, device=plane.device, dtype=plane.dtype)
            a, s = self.schedule.alpha_sigma(t)
            e = (channels * ratio) ** 0.5 * s * (drawn - drawn.mean(0))
            inputs.append((plane + e) * (self.schedule.alpha_sigma(later)[0] / a))
            new_times.append(later)
        return torch.stack(inputs), torch.tensor(new_times, device=planes.device)

    def _blend(self, xt: Tensor, times: Tensor) -> Tensor:
        """Return the estimate of x0 for xt (N, C, H, W): the weighted mean of the estimates of overlapping patches."""
        height, width = (min(side, patch) for side, patch in zip(xt.shape[2:], self.shape[1:], strict=True))
        window = _hat(height, xt).view(-1, 1) * _hat(width, xt)
        total, weight = torch.zeros_like(xt), torch.zeros_like(xt[:, :1])
        corners = [
            (index, top, left)
            for index, t in enumerate(times.tolist())
            for top in _starts(xt.shape[2], height, t)
            for left in _starts(xt.shape[3], width, t)
        ]
        for first in range(0, len(corners), self.batch_size):
            batch = corners[first : first + self.batch_size]
            patches = torch.stack([xt[i, :, top : top + height, left : left + width] for i, top, left in batch])
            estimates, _ = super().__call__(patches, times[[i for i, _, _ in batch]])
            for (i, top, left), estimate in zip(batch, estimates, strict=True):
                total[i, :, top : top + height, left : left + width] += window * estimate
                weight[i, :, top : top + height, left : left + width] += window
        return total / weight


def _starts(side: int, patch: int, t: int) -> list[int]:
    """Return where patches begin along a side: at both ends, and on a grid in between that is shifted with t."""
    stride = max(1, round(STRIDE * patch))
    return sorted({0, *range(5 * t % stride, side - patch, stride), side - patch})


def _hat(length: int, like: Tensor) -> Tensor:
    """Return weights that rise linearly from the ends to the middle, all above 0."""
    position = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    return torch.minimum(position, length - position) / length
