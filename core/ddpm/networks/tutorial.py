"""The network of the published baseline, with its quirks, since its losses can't be reproduced without them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.core.config import DdpmRun, HybridRun
from dipddpm.core.config.shapes import TUTORIAL, refuse_for_tutorial

TIME_FEATURES = 100
TRAINABLE = 506_852


class TutorialNetwork(nn.Module):
    """The baseline's eps(xt, t) for 28x28 grey images in [-1, 1]: xt (N, 1, 28, 28), t int64 (N,), eps like xt.

    An hourglass 28 -> 14 -> 7 -> 3 and back with concatenated skips; each stage adds a projection of t to its input.
    LayerNorm over (C, H, W) fixes the size to 28x28. Weights start from PyTorch's defaults. The first LayerNorm hides
    the brightness and the contrast of xt from all that follows; `first_norm=False` leaves it out, and nothing else.
    """

    name: ClassVar[str] = "tutorial"
    shape: ClassVar[tuple[int, ...]] = TUTORIAL
    classes: ClassVar[int] = 0

    def __init__(self, timesteps: int = 1000, *, first_norm: bool = True) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {"timesteps": timesteps, "first_norm": first_norm}
        self.register_buffer("times", sinusoids(timesteps, TIME_FEATURES))
        self.time = nn.ModuleList([_time_mlp(channels) for channels in (1, 10, 20, 40, 80, 40, 20)])
        self.down = nn.ModuleList(
            [
                _stage(28, 1, 10, 10, 10, normalize_first=first_norm),
                _stage(14, 10, 20, 20, 20),
                _stage(7, 20, 40, 40, 40),
            ]
        )
        self.shrink = nn.ModuleList(
            [
                nn.Conv2d(10, 10, 4, 2, 1),
                nn.Conv2d(20, 20, 4, 2, 1),
                nn.Sequential(nn.Conv2d(40, 40, 2, 1), nn.SiLU(), nn.Conv2d(40, 40, 4, 2, 1)),
            ]
        )
        self.middle = _stage(3, 40, 20, 20, 40)
        self.grow = nn.ModuleList(
            [
                nn.Sequential(nn.ConvTranspose2d(40, 40, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(40, 40, 2, 1)),
                nn.ConvTranspose2d(20, 20, 4, 2, 1),
                nn.ConvTranspose2d(10, 10, 4, 2, 1),
            ]
        )
        self.up = nn.ModuleList(
            [
                _stage(7, 80, 40, 20, 20),
                _stage(14, 40, 20, 10, 10),
                _stage(28, 20, 10, 10, 10, normalize_last=False),
            ]
        )
        self.out = nn.Conv2d(10, 1, 3, padding=1)
        assert sum(p.numel() for p in self.parameters()) == TRAINABLE

    @classmethod
    def for_images(cls, shape: Sequence[int], config: DdpmRun | HybridRun, classes: int = 0) -> Self:
        """Build the network for images of `shape` (C, H, W). Raises UserError unless they are 28x28 and grey.

        `classes` is ignored: the network has no class input, and a config with `ddpm.conditional` refuses this network.
        """
        del classes
        refuse_for_tutorial(shape)
        return cls(timesteps=config.ddpm.timesteps)

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """Predict the noise in xt."""
        features = self.get_buffer("times")[t]
        times = [mlp(features)[:, :, None, None] for mlp in self.time]
        x, skips = xt, []
        for stage, shrink, time in zip(self.down, self.shrink, times[:3], strict=True):
            skips.append(stage(x + time))
            x = shrink(skips[-1])
        x = self.middle(x + times[3])
        for stage, grow, time in zip(self.up, self.grow, times[4:], strict=True):
            x = stage(torch.cat([skips.pop(), grow(x)], 1) + time)
        out: Tensor = self.out(x)
        return out


def sinusoids(timesteps: int, features: int) -> Tensor:
    """Return the table of time features, float32 of shape (timesteps, features).

    The frequencies w_j = 10000^(-2j/features) have a quirk of the baseline: j takes the even values of 0 .. features-1
    rather than 0 .. features/2-1, so the exponent reaches nearly 2 and about half of the columns hardly change with t.
    """
    t = torch.arange(timesteps, dtype=torch.float32)[:, None]
    j = torch.arange(0, features, 2, dtype=torch.float64)
    angles = t * (10_000 ** (-2 * j / features)).to(torch.float32)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


class _ImageNorm(nn.LayerNorm):
    """LayerNorm over (C, H, W), computed in the order (H, W, C) on a CPU.

    The results are the same. The output is channels-last in memory, and the following layers preserve that format,
    which makes the convolutions about twice as fast on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        channels, height, width = self.normalized_shape
        weight, bias = self.weight.permute(1, 2, 0), self.bias.permute(1, 2, 0)
        y = F.layer_norm(x.permute(0, 2, 3, 1), (height, width, channels), weight, bias, self.eps)
        return y.permute(0, 3, 1, 2)


class _Block(nn.Module):
    """LayerNorm, conv 3x3, SiLU, conv 3x3, SiLU, without a residual; `normalize = False` skips the LayerNorm."""

    def __init__(self, size: int, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.normalize = True
        self.norm = _ImageNorm((channels_in, size, size))
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.normalize:
            x = self.norm(x)
        return F.silu(self.conv2(F.silu(self.conv1(x))))


def _stage(size: int, *channels: int, normalize_first: bool = True, normalize_last: bool = True) -> nn.Sequential:
    """Return blocks between these channels; the published network's very last block skips its norm."""
    blocks = [_Block(size, a, b) for a, b in itertools.pairwise(channels)]
    blocks[0].normalize, blocks[-1].normalize = normalize_first, normalize_last
    return nn.Sequential(*blocks)


def _time_mlp(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(TIME_FEATURES, channels), nn.SiLU(), nn.Linear(channels, channels))
