"""The hourglass with skip connections (Ulyanov et al., CVPR 2018), for many images at once."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dipddpm.core.config.dip import DipConfig
from dipddpm.core.dip.networks.layers import (
    PriorConv2d,
    Upsampling,
    arguments,
    concat_channels,
    conv_norm_act,
    enlarge,
    norm,
    to_features,
    to_images,
)


class SkipNetwork(nn.Module):
    """`priors` independent hourglasses as one network of grouped convolutions.

    Takes (priors, in_channels, H, W), an input to each prior, or (1, in_channels, H, W), one that all share; with
    priors = 1, any number of images. Gives as many images of `out_channels`, in [0, 1] with `sigmoid`. Any H and W
    that can be halved `scales` times without falling below 3 pixels (`layers.max_scales`); odd sizes are
    rounded up on the way down, and the way up returns to the size of the skip.

    Differs from the original in that normalisation is per image also when one prior sees many images, and in that
    nothing is cropped where a size is odd.
    """

    name: ClassVar[str] = "skip"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        scales: int,
        *,
        channels: int = 128,
        skip_channels: int = 4,
        upsampling: Upsampling = "bilinear",
        sigmoid: bool = True,
        priors: int = 1,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "scales": scales,
            "channels": channels,
            "skip_channels": skip_channels,
            "upsampling": upsampling,
            "sigmoid": sigmoid,
            "priors": priors,
        }
        self.priors = priors
        self.sigmoid = sigmoid
        # The deepest scale first, since each holds the one below it.
        body: nn.Module | None = None
        for scale in reversed(range(scales)):
            inputs = in_channels if scale == 0 else channels
            body = _Scale(priors, inputs, channels, skip=skip_channels, upsampling=upsampling, below=body)
        self.body = body or conv_norm_act(priors, in_channels, channels)
        self.head = PriorConv2d(priors, channels, out_channels, kernel=1)

    @classmethod
    def for_images(cls, shape: tuple[int, int, int], options: DipConfig, priors: int = 1) -> Self:
        """The network of a config for images of shape (C, H, W)."""
        return cls(**arguments(shape, options, priors), skip_channels=options.skip_channels)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Of the random input z: that of the image."""
        return height, width

    def forward(self, z: Tensor) -> Tensor:
        """Images from random inputs."""
        features = self.head(self.body(to_features(z, self.priors)))
        images = to_images(features, self.priors)
        return torch.sigmoid(images) if self.sigmoid else images


class _Scale(nn.Module):
    """One scale: down by two, through what lies below, up again, beside a thin skip, and on."""

    def __init__(
        self,
        priors: int,
        inputs: int,
        channels: int,
        *,
        skip: int,
        upsampling: Upsampling,
        below: nn.Module | None,
    ) -> None:
        super().__init__()
        self.priors = priors
        self.upsampling = upsampling
        self.skip = conv_norm_act(priors, inputs, skip, kernel=1) if skip else None
        self.down = nn.Sequential(
            conv_norm_act(priors, inputs, channels, stride=2), conv_norm_act(priors, channels, channels)
        )
        self.below = below
        self.up = nn.Sequential(
            norm(priors, channels + skip),
            conv_norm_act(priors, channels + skip, channels),
            conv_norm_act(priors, channels, channels, kernel=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        deep: Tensor = self.down(x)
        if self.below is not None:
            deep = self.below(deep)
        deep = enlarge(deep, (x.shape[-2], x.shape[-1]), self.upsampling)
        if self.skip is not None:
            deep = concat_channels(self.skip(x), deep, self.priors)
        out: Tensor = self.up(deep)
        return out
