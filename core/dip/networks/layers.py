"""The parts that untrained networks are made of, for `priors` independent networks at once.

Features of B priors lie side by side as (N, B * C, H, W), and each part treats the priors apart: a convolution has
one group a prior, and normalisation is per image and channel. So one such network is B separate ones, exactly.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.core.config.dip import DipConfig

Upsampling = Literal["bilinear", "nearest"]

MIN_SIDE = 3
"""No scale of a network is smaller than this, in pixels a side: normalisation needs something to average."""

CHANNEL_MULTIPLE = 16
"""On a CPU, grouped convolutions take three times as long where a group's channels are no multiple of this, the length
of a vector register; channels of zeros are put beside them, which changes no result."""


class PriorConv2d(nn.Module):
    """`priors` convolutions as one, with "same" padding by reflection.

    Takes (N, priors * inputs, H, W), or (N, inputs, H, W) that all priors share; gives (N, priors * outputs, H', W').
    All priors start from the same weights, so that each fit is the one that it would be alone with that seed.
    """

    def __init__(self, priors: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        single = nn.Conv2d(inputs, outputs, kernel)
        assert single.bias is not None
        self.weight = nn.Parameter(single.weight.detach().repeat(priors, 1, 1, 1))
        self.bias = nn.Parameter(single.bias.detach().repeat(priors))
        self.stride = stride
        self.padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """Convolve each prior's features with its own weights."""
        weight: Tensor = self.weight
        inputs = weight.shape[1]
        groups = x.shape[1] // inputs
        if weight.shape[2] == 1 and self.stride == 1:
            return self._mix(x, groups)
        if self.padding:
            x = F.pad(x, [self.padding] * 4, mode="reflect")
        if x.device.type == "cpu" and groups > 1 and inputs > CHANNEL_MULTIPLE and inputs % CHANNEL_MULTIPLE:
            spare = (0, 0, 0, 0, 0, -inputs % CHANNEL_MULTIPLE)
            x = F.pad(x.reshape(-1, inputs, *x.shape[2:]), spare).reshape(len(x), -1, *x.shape[2:])
            weight = F.pad(weight, spare)
        return F.conv2d(x, weight, self.bias, stride=self.stride, groups=groups)

    def _mix(self, x: Tensor, groups: int) -> Tensor:
        """Pixel by pixel a convolution is a product of matrices, which takes a third to a half of the time."""
        weight = self.weight.view(groups, -1, x.shape[1] // groups)
        bias = self.bias.view(groups, -1, 1)
        pixels = x.reshape(len(x), groups, -1, x.shape[-2] * x.shape[-1])
        return (weight @ pixels + bias).view(len(x), -1, *x.shape[-2:])


def norm(priors: int, channels: int) -> nn.GroupNorm:
    """Normalisation per image and channel: with one image a prior, the batch normalisation of the papers."""
    return nn.GroupNorm(priors * channels, priors * channels)


def conv_norm_act(priors: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, normalised, through a leaky ReLU."""
    convolution = PriorConv2d(priors, inputs, outputs, kernel, stride)
    return nn.Sequential(convolution, norm(priors, outputs), nn.LeakyReLU(0.2, inplace=True))


def concat_channels(a: Tensor, b: Tensor, priors: int) -> Tensor:
    """Concatenate the channels of two features, prior by prior."""
    size = a.shape[-2:]
    joined = torch.cat([x.reshape(len(x), priors, -1, *size) for x in (a, b)], dim=2)
    return joined.flatten(1, 2)


def enlarge(x: Tensor, size: tuple[int, int], how: Upsampling) -> Tensor:
    """Upsample features to (H, W)."""
    return F.interpolate(x, size=size, mode=how, align_corners=False if how == "bilinear" else None)


def to_features(z: Tensor, priors: int) -> Tensor:
    """Lay (N * priors, C, H, W) out as (N, priors * C, H, W); one input that all priors share stays as it is."""
    return z if len(z) == 1 else z.reshape(-1, priors * z.shape[1], *z.shape[2:])


def to_images(features: Tensor, priors: int) -> Tensor:
    """The inverse: (N, priors * C, H, W) to (N * priors, C, H, W)."""
    return features.reshape(len(features) * priors, -1, *features.shape[2:])


def max_scales(height: int, width: int) -> int:
    """How many times an image can be halved, rounding up, before a side falls below 3 pixels."""
    side, scales = min(height, width), 0
    while (side := (side + 1) // 2) >= MIN_SIDE:
        scales += 1
    return scales


def arguments(shape: tuple[int, int, int], options: DipConfig, priors: int) -> dict[str, Any]:
    """What every network of a config is built with for images of shape (C, H, W)."""
    channels, height, width = shape
    return {
        "in_channels": options.input_channels,
        "out_channels": channels,
        "scales": min(options.scales, max_scales(height, width)),
        "channels": options.channels,
        "upsampling": options.upsampling,
        "priors": priors,
    }
