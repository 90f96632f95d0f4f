"""A U-Net for images of any size, with attention at the lowest resolutions and optional class conditioning."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.core import registry
from dipddpm.core.config import DdpmRun, HybridRun
from dipddpm.core.errors import UserError

GROUP_CHANNELS = 8
"""Channels per group in group norm."""
HEAD_CHANNELS = 32
"""Channels per attention head, if that divides the level's channels."""


class UNet(nn.Module):
    """A U-Net that predicts eps, x0 or v for xt (N, C, H, W) in [-1, 1] at t int64 (N,); the output is like xt.

    Residual blocks with group norm, conditioned on the time by scale and shift (Dhariwal & Nichol 2021, section 3),
    work on patches of `patch` x `patch` pixels. Each further level halves the sides and has a concatenated skip. The
    lowest `attention` levels have self-attention. Every block's last layer and the output layer start at zero, so that
    training starts from the identity.

    With `classes`, `label` int64 (N,) is the class; None, or the number of classes, means no class. A network trained
    with some labels dropped can be guided (Ho & Salimans 2022). With `beside`, xt has so many more channels, which are
    an input but not predicted. Sizes that don't halve evenly are padded by replicating the border and cropped at the
    end.
    """

    name: ClassVar[str] = "unet"

    def __init__(
        self,
        shape: Sequence[int],
        *,
        channels: Sequence[int] = (64, 96),
        blocks: int = 1,
        attention: int = 1,
        patch: int = 2,
        classes: int = 0,
        beside: int = 0,
        dropout: float = 0.0,
        timesteps: int = 1000,
    ) -> None:
        super().__init__()
        self.arguments = registry.constructor_arguments(locals())
        self.shape = tuple(shape)
        self.classes = classes
        self.size_multiple = patch * 2 ** (len(channels) - 1)
        """The sides of images are padded to a multiple of this."""
        self.time = _TimeEmbedding(timesteps, 4 * channels[0])
        self.label = nn.Embedding(classes + 1, 4 * channels[0]) if classes else None
        attended = [level >= len(channels) - attention for level in range(len(channels))]

        def stage(into: int, out: int, *, attend: bool) -> _Stage:
            sizes = itertools.pairwise([into, *[out] * blocks])
            return _Stage(_Block(a, b, 4 * channels[0], attend=attend, dropout=dropout) for a, b in sizes)

        self.stem = nn.Conv2d(shape[0] + beside, channels[0], patch + 2, stride=patch, padding=1)
        self.down = nn.ModuleList([stage(c, c, attend=a) for c, a in zip(channels, attended, strict=True)])
        self.shrink = nn.ModuleList([nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(channels)])
        self.grow = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in itertools.pairwise(channels)])
        self.up = nn.ModuleList([stage(2 * c, c, attend=a) for c, a in zip(channels[:-1], attended[:-1], strict=True)])
        self.norm = _group_norm(channels[0])
        self.out = nn.ConvTranspose2d(channels[0], shape[0], patch + 2, stride=patch, padding=1)
        _zero_init(self.out)

    @classmethod
    def for_images(cls, shape: Sequence[int], config: DdpmRun | HybridRun, classes: int = 0) -> Self:
        """Build the config's network for images of `shape` (C, H, W) and so many classes, 0 for none.

        Raises UserError for channels that group norm can't divide into its groups.
        """
        options = config.unet
        if any(channels % GROUP_CHANNELS for channels in options.widths()):
            problem = f"unet.channels must be multiples of {GROUP_CHANNELS}, not {options.channels}."
            raise UserError(problem, f"Choose multiples of {GROUP_CHANNELS}, for example 64,96.")
        return cls(
            shape,
            channels=options.widths(),
            blocks=options.blocks,
            attention=options.attention,
            patch=options.patch,
            classes=classes,
            dropout=options.dropout,
            timesteps=config.ddpm.timesteps,
        )

    def with_cond_channels(self, cond_channels: int) -> UNet:
        """Return a network with so many more input channels, whose new weights are zero: it predicts the same."""
        widened = UNet(**self.arguments | {"beside": cond_channels})
        weights = dict(self.state_dict())
        stem = weights["stem.weight"]
        weights["stem.weight"] = torch.cat([stem, stem.new_zeros(len(stem), cond_channels, *stem.shape[2:])], 1)
        widened.load_state_dict(weights)
        return widened.to(stem.device)

    def forward(self, xt: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Predict eps, x0 or v for xt."""
        time = self.time(t)
        if self.label is not None:
            time = time + self.label(torch.full_like(t, self.classes) if label is None else label)
        time = F.silu(time)
        height, width = xt.shape[-2:]
        x = F.pad(xt, (0, -width % self.size_multiple, 0, -height % self.size_multiple), mode="replicate")
        # All following layers preserve the channels-last format, which is about twice as fast on a CPU.
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        skips = []
        for level, stage in enumerate(self.down):
            x = stage(x, time)
            if level < len(self.shrink):
                skips.append(x)
                x = self.shrink[level](x)
        for grow, stage in zip(reversed(self.grow), reversed(self.up), strict=True):
            x = stage(torch.cat([grow(x), skips.pop()], 1), time)
        out: Tensor = self.out(F.silu(self.norm(x)))
        return out[..., :height, :width].contiguous()


class _Stage(nn.ModuleList):
    """The blocks of one level, applied in turn."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        for block in self:
            x = block(x, time)
        return x


class _TimeEmbedding(nn.Module):
    """Sinusoids of t, at 1 to 1/10,000 radian per 1/1,000 of T, then two linear layers: (N,) to (N, features)."""

    def __init__(self, timesteps: int, features: int, sinusoids: int = 64) -> None:
        super().__init__()
        frequency = torch.exp(-math.log(10_000) * torch.arange(sinusoids // 2) / (sinusoids // 2))
        self.register_buffer("frequency", frequency * 1000 / timesteps)
        self.project = nn.Sequential(nn.Linear(sinusoids, features), nn.SiLU(), nn.Linear(features, features))

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None] * self.get_buffer("frequency")
        features: Tensor = self.project(torch.cat([angles.sin(), angles.cos()], 1))
        return features


class _Block(nn.Module):
    """x + conv(SiLU(norm(conv(SiLU(norm(x)))) scaled and shifted by the time)), then attention if `attend`."""

    def __init__(self, channels_in: int, channels: int, time: int, *, attend: bool, dropout: float) -> None:
        super().__init__()
        self.norm1 = _group_norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.time = nn.Linear(time, 2 * channels)
        self.norm2 = _group_norm(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Identity() if channels_in == channels else nn.Conv2d(channels_in, channels, 1)
        self.attention = _Attention(channels) if attend else nn.Identity()
        _zero_init(self.conv2)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.time(time)[:, :, None, None].chunk(2, 1)
        y = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + scale) + shift
        y = self.conv2(self.dropout(F.silu(y)))
        out: Tensor = self.attention(self.shortcut(x) + y)
        return out


class _Attention(nn.Module):
    """x + self-attention over all pixels, in heads of 32 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // math.gcd(channels, HEAD_CHANNELS)
        self.norm = _group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        _zero_init(self.out)

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        tokens = self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(count, height * width, 3, self.heads, -1)
        q, k, v = tokens.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        attended = attended.transpose(1, 2).reshape(count, height, width, channels).permute(0, 3, 1, 2)
        out: Tensor = x + self.out(attended)
        return out


def _zero_init(layer: nn.Module) -> None:
    """Set all parameters of a layer to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _group_norm(channels: int) -> nn.GroupNorm:
    """Return group norm over groups of 8 channels."""
    return nn.GroupNorm(channels // GROUP_CHANNELS, channels)
