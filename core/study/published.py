"""The numbers that the published study printed; they ship with the program. Loads no torch."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

FILE = Path(__file__).parents[1] / "assets" / "published-study.toml"


class Dip(msgspec.Struct, frozen=True):
    """DIP, fitted to one image after the other."""

    images: int
    total_minutes: float
    measure: str
    finding: str


class Ddpm(msgspec.Struct, frozen=True):
    """DDPM alone; the first loss belongs to epoch 1."""

    dataset: str
    epochs: int
    wall_clock: str
    seconds_per_epoch: float
    epoch_loss: list[float]


class Substitution(msgspec.Struct, frozen=True):
    """The hybrid, in 20 epochs, and in epochs 90 to 100 of a longer run."""

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
    """All that the study printed."""

    dip: Dip
    ddpm: Ddpm
    hybrid_substitution: Substitution


@functools.cache
def published() -> Published:
    """Return the published numbers."""
    return msgspec.toml.decode(FILE.read_bytes(), type=Published)
