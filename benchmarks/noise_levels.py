"""Benchmark of the noise estimate: how near its levels are, and which kinds of noise it takes for which.

Pictures are those of scikit-image, noise is drawn by numpy, and files have 8 bits. The estimate was tuned on the
pictures of `TUNED`; those of `TESTED` show what it is worth.
"""

from __future__ import annotations

import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, TypeAlias

import msgspec
import numpy as np
import torch
import typer
from numpy.typing import NDArray
from skimage import data

from dipddpm.core.degrade.noise_estimate import NoiseEstimate, estimate_noise
from dipddpm.tui.cli.output import print_table

Values: TypeAlias = NDArray[np.float64]

TUNED = ("coffee", "chelsea", "motorcycle", "brick", "grass", "clock", "moon")
TESTED = ("astronaut", "camera", "rocket", "retina", "immunohistochemistry", "gravel", "coins", "cell", "page", "text")
NOISES: dict[str, tuple[float, ...]] = {
    "gaussian": (5, 10, 15, 25, 40, 50, 75),
    "poisson": (5, 10, 30, 100, 300),
    "salt-and-pepper": (0.01, 0.05, 0.2, 0.5),
}
"""Levels of each kind: sigma in grey levels, photons of a white pixel, and the share of impulses."""
_LUMA = np.array([0.299, 0.587, 0.114])


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """One estimate beside the truth."""

    picture: str
    kind: str
    level: float
    found: str
    found_level: float
    inside: bool
    """True if the interval contains the true level."""
    certainty: float
    seconds: float


def measure(
    *,
    tuned: Annotated[bool, typer.Option("--tuned", help="Take the pictures that the estimate was tuned on.")] = False,
    draws: Annotated[int, typer.Option(min=1, help="How often each noise is drawn.")] = 1,
) -> None:
    """Print how near the estimated levels of noise are, and the confusion of its kinds."""
    measured: list[Draw] = []
    for name in TUNED if tuned else TESTED:
        for shown, clean in pictures(name):
            measured += estimate_all(shown, clean, draws)
            near = [draw for draw in measured if draw.picture == shown and draw.kind == "gaussian"]
            print(f"{shown}: {share_near(near):.0%} within 10%", file=sys.stderr)
    print_table(level_table(measured))
    print()
    print_table(kind_table(measured))
    print(f"\n{np.mean([draw.seconds for draw in measured]):.2f} s for each picture")


def pictures(name: str) -> Iterator[tuple[str, Values]]:
    """Yield a picture of scikit-image as (C, H, W) in [0, 1], by name; a picture in colour also in grey."""
    loaded = getattr(data, "stereo_motorcycle" if name == "motorcycle" else name)()
    picture = loaded[0] if name == "motorcycle" else loaded  # the left one of two
    values: Values = picture[:1024, :1024] / 255.0
    if values.ndim == 3:
        yield f"{name}, RGB", values.transpose(2, 0, 1)
        values = values @ _LUMA
    yield f"{name}, grey", values[None]


def estimate_all(name: str, clean: Values, draws: int) -> Iterator[Draw]:
    """Yield the estimates of every noise on a picture."""
    for kind, levels in NOISES.items():
        for level in levels:
            for draw in range(draws):
                rng = np.random.default_rng(zlib.crc32(f"{name} {kind} {level} {draw}".encode()))
                y = torch.from_numpy(add_noise(clean, kind, level, rng)).float()
                start = time.process_time()
                found = estimate_noise(y, torch.ones_like(y))
                seconds = time.process_time() - start
                yield Draw(
                    picture=name,
                    kind=kind,
                    level=level,
                    found=found.kind,
                    found_level=level_of(found),
                    inside=found.kind == kind and found.lower <= level <= found.upper,
                    certainty=found.certainty,
                    seconds=seconds,
                )


def add_noise(clean: Values, kind: str, level: float, rng: np.random.Generator) -> Values:
    """Return the values of a file of 8 bits with noise."""
    if kind == "poisson":
        noisy = rng.poisson(clean * level) / level
    elif kind == "gaussian":
        noisy = clean + rng.normal(0, level / 255, clean.shape)
    else:
        drawn = rng.random(clean.shape)
        noisy = np.where(drawn < level / 2, 0.0, np.where(drawn > 1 - level / 2, 1.0, clean))
    stored: Values = np.round(np.clip(noisy, 0, 1) * 255) / 255
    return stored


def level_of(found: NoiseEstimate) -> float:
    """Return the level in the unit of `NOISES`."""
    return {"poisson": found.photons, "salt-and-pepper": found.hit}.get(found.kind, found.sigma)


def share_near(draws: Sequence[Draw]) -> float:
    """Return the share of draws whose kind is right and whose level is within 10%."""
    return float(np.mean([draw.found == draw.kind and abs(draw.found_level / draw.level - 1) <= 0.1 for draw in draws]))


def level_table(draws: Sequence[Draw]) -> list[tuple[str, ...]]:
    """Return a table of the levels, a row for each kind and level and one for each kind."""
    table: list[tuple[str, ...]] = [("NOISE", "LEVEL", "MEDIAN", "WITHIN 10%", "IN INTERVAL", "N")]
    for kind, levels in NOISES.items():
        for level in (*levels, None):
            own = [draw for draw in draws if draw.kind == kind and level in {draw.level, None}]
            right = [draw.found_level for draw in own if draw.found == kind]
            median = f"{np.median(right):.3g}" if level is not None and right else ""
            inside = f"{np.mean([draw.inside for draw in own]):.0%}"
            shown = "all" if level is None else f"{level:g}"
            table.append((kind, shown, median, f"{share_near(own):.0%}", inside, str(len(own))))
    return table


def kind_table(draws: Sequence[Draw]) -> list[tuple[str, ...]]:
    """Return the confusion of kinds, with the mean certainty of right and of wrong answers."""
    kinds = (*NOISES, "poisson-gaussian", "none")
    table: list[tuple[str, ...]] = [("TRUE", *kinds, "CERTAINTY IF RIGHT", "IF WRONG")]
    for kind in NOISES:
        own = [draw for draw in draws if draw.kind == kind]
        counts = Counter(draw.found for draw in own)
        shares = (f"{counts[found] / len(own):.1%}" if counts[found] else "-" for found in kinds)
        right, wrong = ([draw.certainty for draw in own if (draw.found == kind) == same] for same in (True, False))
        table.append((kind, *shares, *(f"{np.mean(values):.2f}" if values else "-" for values in (right, wrong))))
    return table
