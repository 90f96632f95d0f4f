"""The numbers that the published study printed, as they ship with the program. Loads no torch."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

FILE = Path(__file__).parents[1] / "assets" / "published-study.toml"


class Dip(msgspec.Struct, frozen=True):
    """DIP on images one by one."""

    images: int
    total_minutes: float
    measure: str
    finding: str


class Ddpm(msgspec.Struct, frozen=True):
    """DDPM alone; the first loss is that of epoch 1."""

    dataset: str
    epochs: int
    wall_clock: str
    seconds_per_epoch: float
    epoch_loss: list[float]


class Substitution(msgspec.Struct, frozen=True):
    """The hybrid, over 20 epochs and at the end of 100."""

    description: str
    epochs: int
    wall_clock: str
    seconds_per_epoch: float
    epoch_loss: list[float]
    epochs_90_to_100_loss: list[float]
    epochs_90_to_100_stored: list[bool]
    finding: str
    suspected_causes: list[str]


class Published(msgspec.Struct, frozen=True):
    """The study."""

    dip: Dip
    ddpm: Ddpm
    hybrid_substitution: Substitution


@functools.cache
def published() -> Published:
    """All that it printed."""
    return msgspec.toml.decode(FILE.read_bytes(), type=Published)
