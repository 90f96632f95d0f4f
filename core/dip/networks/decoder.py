"""The deep decoder (Heckel and Hand, ICLR 2019): no convolution wider than a pixel, for many images at once."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dipddpm.core.config.dip import DipConfig
from dipddpm.core.dip.networks.layers import PriorConv2d, Upsampling, arguments, enlarge, norm, to_features, to_images


class DecoderNetwork(nn.Module):
    """`priors` deep decoders as one network: with fewer weights than the image has pixels, it can't fit noise well.

    Takes (priors, in_channels, h, w), or (1, in_channels, h, w) that all share, h x w being the image halved `scales`
    times (`input_size`). Each scale mixes channels pixel by pixel, doubles the size, applies ReLU and normalises per
    image and channel; a last mix comes before the output's. Gives images of `size`, (H, W), in [0, 1].
    """

    name: ClassVar[str] = "decoder"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        scales: int,
        size: list[int],
        *,
        channels: int = 128,
        upsampling: Upsampling = "bilinear",
        priors: int = 1,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "scales": scales,
            "size": size,
            "channels": channels,
            "upsampling": upsampling,
            "priors": priors,
        }
        self.priors = priors
        self.upsampling = upsampling
        inputs = [in_channels, *[channels] * scales]
        self.mixes = nn.ModuleList(PriorConv2d(priors, count, channels, kernel=1) for count in inputs)
        self.norms = nn.ModuleList(norm(priors, channels) for _ in inputs)
        self.head = PriorConv2d(priors, channels, out_channels, kernel=1)
        self.sizes = [_halved(size, times) for times in reversed(range(scales))]

    @classmethod
    def for_images(cls, shape: tuple[int, int, int], options: DipConfig, priors: int = 1) -> Self:
        """The network of a config for images of shape (C, H, W)."""
        return cls(**arguments(shape, options, priors), size=list(shape[1:]))

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Of the random input z: the image halved `scales` times."""
        return _halved([height, width], self.arguments["scales"])

    def forward(self, z: Tensor) -> Tensor:
        """Images from random inputs."""
        x = to_features(z, self.priors)
        for i, (mix, normalise) in enumerate(zip(self.mixes, self.norms, strict=True)):
            x = mix(x)
            if i < len(self.sizes):
                x = enlarge(x, self.sizes[i], self.upsampling)
            x = normalise(F.relu(x))
        return torch.sigmoid(to_images(self.head(x), self.priors))


def _halved(size: list[int], times: int) -> tuple[int, int]:
    """(H, W) halved, rounding up."""
    height, width = (-(-side // 2**times) for side in size)
    return height, width
