"""Options of our U-Net."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from dipddpm.core.config.base import Section


class UNetConfig(Section, frozen=True):
    """How large the U-Net is; it plays a part where `ddpm.network` is unet."""

    channels: Annotated[
        str,
        Meta(
            pattern=r"^[1-9]\d{0,3}(,[1-9]\d{0,3}){0,5}\Z",
            description="channels of each level, from the finest down; each level has half the sides of the one before",
        ),
    ] = "64,96"
    blocks: Annotated[int, Meta(ge=1, le=16, description="residual blocks of each level, on the way down and up")] = 1
    attention: Annotated[int, Meta(ge=0, le=6, description="how many of the lowest levels have self-attention")] = 1
    patch: Annotated[int, Meta(ge=1, le=8, description="side of the patches that the finest level works on")] = 2
    dropout: Annotated[float, Meta(ge=0, lt=1, description="share of the features left out in training")] = 0.0

    def widths(self) -> list[int]:
        """The channels as numbers."""
        return [int(part) for part in self.channels.split(",")]
