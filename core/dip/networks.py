"""Untrained networks for deep image priors; one network holds `priors` independent ones.

Features of B priors are stacked along the channels, (N, B * C, H, W), and no layer mixes priors: a convolution has one
group for each prior, and normalisation is per image and channel. So the network equals B separate networks exactly.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.core import registry
from dipddpm.core.config.dip import DipConfig

Upsampling = Literal["bilinear", "nearest"]

MIN_SIDE = 3
"""Smallest side of a network's scales, in pixels; normalisation needs several values to average."""

CHANNEL_MULTIPLE = 16
"""Length of a CPU's vector register. Grouped convolutions on a CPU take three times as long where a group's channels
are not a multiple of it, so they are padded with channels of zeros, which changes no result."""


class PriorConv2d(nn.Module):
    """A grouped convolution with one group for each of `priors` priors, and "same" padding by reflection.

    Takes (N, priors * inputs, H, W), or (N, inputs, H, W) shared by all priors; returns (N, priors * outputs, H', W').
    All priors start from the same weights, so that an image is fitted as it would be alone with the same seed.
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
            padding = (0, 0, 0, 0, 0, -inputs % CHANNEL_MULTIPLE)
            x = F.pad(x.reshape(-1, inputs, *x.shape[2:]), padding).reshape(len(x), -1, *x.shape[2:])
            weight = F.pad(weight, padding)
        return F.conv2d(x, weight, self.bias, stride=self.stride, groups=groups)

    def _mix(self, x: Tensor, groups: int) -> Tensor:
        """Do a 1x1 convolution as a matrix product, which takes a third to a half of the convolution's time."""
        weight = self.weight.view(groups, -1, x.shape[1] // groups)
        bias = self.bias.view(groups, -1, 1)
        pixels = x.reshape(len(x), groups, -1, x.shape[-2] * x.shape[-1])
        return (weight @ pixels + bias).view(len(x), -1, *x.shape[-2:])


def norm(priors: int, channels: int) -> nn.GroupNorm:
    """Return a normalisation per image and channel; with one image per prior it is the papers' batch normalisation."""
    return nn.GroupNorm(priors * channels, priors * channels)


def conv_norm_act(priors: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution followed by normalisation and a leaky ReLU."""
    convolution = PriorConv2d(priors, inputs, outputs, kernel, stride)
    return nn.Sequential(convolution, norm(priors, outputs), nn.LeakyReLU(0.2, inplace=True))


def concat_channels(a: Tensor, b: Tensor, priors: int) -> Tensor:
    """Concatenate the channels of two features, prior by prior."""
    size = a.shape[-2:]
    joined = torch.cat([x.reshape(len(x), priors, -1, *size) for x in (a, b)], dim=2)
    return joined.flatten(1, 2)


def max_scales(height: int, width: int) -> int:
    """Return how many times an image can be halved, rounding up, before a side falls below 3 pixels."""
    side, scales = min(height, width), 0
    while (side := (side + 1) // 2) >= MIN_SIDE:
        scales += 1
    return scales


class PriorNetwork(nn.Module):
    """The base class of networks that hold `priors` independent untrained networks.

    Takes (priors, in_channels, h, w), an input for each prior, or (1, in_channels, h, w), an input that all share; a
    network of one prior takes any number of inputs. Returns an image of `out_channels` for each prior and input, in
    [0, 1] with `sigmoid`.
    """

    name: ClassVar[str]
    arguments: dict[str, Any]
    priors: int
    sigmoid: bool = True
    head: PriorConv2d

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (h, w) of the random input z for an image of this size; here it is the image's size."""
        return height, width

    def features(self, x: Tensor) -> Tensor:
        """Return the head's input features, given the priors' inputs stacked along the channels."""
        raise NotImplementedError

    def forward(self, z: Tensor) -> Tensor:
        """Map random inputs to images."""
        inputs = z if len(z) == 1 else z.reshape(-1, self.priors * z.shape[1], *z.shape[2:])
        images = self.head(self.features(inputs))
        images = images.reshape(len(images) * self.priors, -1, *images.shape[2:])
        return torch.sigmoid(images) if self.sigmoid else images


def arguments(shape: tuple[int, int, int], options: DipConfig, priors: int) -> dict[str, Any]:
    """Return the constructor arguments that all networks share, for images of shape (C, H, W)."""
    channels, height, width = shape
    return {
        "in_channels": options.input_channels,
        "out_channels": channels,
        "scales": min(options.scales, max_scales(height, width)),
        "channels": options.channels,
        "upsampling": options.upsampling,
        "priors": priors,
    }


class SkipNetwork(PriorNetwork):
    """Hourglass networks with skip connections (Ulyanov et al., CVPR 2018), made of grouped convolutions.

    Takes any H and W that can be halved `scales` times without falling below 3 pixels (`max_scales`). Downsampling
    rounds odd sizes up; upsampling returns to the size of the skip.

    Differs from the original in two ways: normalisation is per image even when one prior gets many inputs, and odd
    sizes are not cropped.
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
        self.arguments = registry.constructor_arguments(locals())
        self.priors = priors
        self.sigmoid = sigmoid
        # Built from the deepest scale up, since each scale holds the scale below it.
        body: nn.Module | None = None
        for scale in reversed(range(scales)):
            inputs = in_channels if scale == 0 else channels
            body = _Scale(priors, inputs, channels, skip=skip_channels, upsampling=upsampling, below=body)
        self.body = body or conv_norm_act(priors, in_channels, channels)
        self.head = PriorConv2d(priors, channels, out_channels, kernel=1)

    @classmethod
    def for_images(cls, shape: tuple[int, int, int], options: DipConfig, priors: int = 1) -> Self:
        """Build the config's network for images of shape (C, H, W)."""
        return cls(**arguments(shape, options, priors), skip_channels=options.skip_channels)

    def features(self, x: Tensor) -> Tensor:
        """Pass x through all scales."""
        features: Tensor = self.body(x)
        return features


class _Scale(nn.Module):
    """One scale of the hourglass.

    Halves its input, applies the scales below, enlarges the result, concatenates a thin skip connection and convolves.
    """

    def __init__(
        self, priors: int, inputs: int, channels: int, *, skip: int, upsampling: Upsampling, below: nn.Module | None
    ) -> None:
        super().__init__()
        self.priors = priors
        self.upsampling = upsampling
        self.skip = conv_norm_act(priors, inputs, skip, kernel=1) if skip else None
        self.down = nn.Sequential(
            conv_norm_act(priors, inputs, channels, stride=2), conv_norm_act(priors, channels, channels)
        )
        self.below = below or nn.Identity()
        self.up = nn.Sequential(
            norm(priors, channels + skip),
            conv_norm_act(priors, channels + skip, channels),
            conv_norm_act(priors, channels, channels, kernel=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        deep = F.interpolate(self.below(self.down(x)), size=x.shape[-2:], mode=self.upsampling)
        if self.skip is not None:
            deep = concat_channels(self.skip(x), deep, self.priors)
        out: Tensor = self.up(deep)
        return out


class DecoderNetwork(PriorNetwork):
    """Deep decoders (Heckel and Hand, ICLR 2019), which have few weights and only 1x1 convolutions.

    A deep decoder with fewer weights than the image has pixels can't fit noise well. Each scale mixes channels pixel by
    pixel, doubles the size, applies ReLU and normalises per image and channel; a last mix precedes the output
    convolution. Returns images of `size`, (H, W).
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
        self.arguments = registry.constructor_arguments(locals())
        self.priors = priors
        self.upsampling = upsampling
        inputs = [in_channels, *[channels] * scales]
        self.mixes = nn.ModuleList(PriorConv2d(priors, count, channels, kernel=1) for count in inputs)
        self.norms = nn.ModuleList(norm(priors, channels) for _ in inputs)
        self.head = PriorConv2d(priors, channels, out_channels, kernel=1)
        self.sizes = [_halved(size, times) for times in reversed(range(scales))]

    @classmethod
    def for_images(cls, shape: tuple[int, int, int], options: DipConfig, priors: int = 1) -> Self:
        """Build the config's network for images of shape (C, H, W)."""
        return cls(**arguments(shape, options, priors), size=list(shape[1:]))

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (h, w) of the random input z: the image's size halved `scales` times."""
        return _halved([height, width], self.arguments["scales"])

    def features(self, x: Tensor) -> Tensor:
        """Pass x through all scales."""
        for i, (mix, normalise) in enumerate(zip(self.mixes, self.norms, strict=True)):
            x = mix(x)
            if i < len(self.sizes):
                x = F.interpolate(x, size=self.sizes[i], mode=self.upsampling)
            x = normalise(F.relu(x))
        return x


def _halved(size: list[int], times: int) -> tuple[int, int]:
    """Return (H, W) halved so many times, rounded up."""
    height, width = (-(-side // 2**times) for side in size)
    return height, width
