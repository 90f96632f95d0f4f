"""Benchmark of predicted PSNRs: restorations of pictures that are in no fit, predicted without their truth.

The program estimates the noise of noisy pictures. In the fit, some levels are known.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage import data as photographs
from torch import Tensor

from dipddpm.core.config import DipConfig
from dipddpm.core.data.leaves import dead_leaves
from dipddpm.core.degrade import (
    BlockMean,
    CircularBlur,
    Degradation,
    GaussianNoise,
    Identity,
    Mask,
    Noise,
    Operator,
)
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.measure import gaussian_kernel
from dipddpm.core.degrade.noise_estimate import estimate_noise
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.classical.table import CLASSICS
from dipddpm.core.methods.closed_form import ClosedFormRestorer
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.trial import Trial
from dipddpm.core.methods.trial.clipping import clipping_corrected
from dipddpm.core.methods.trial.features import Features
from dipddpm.core.methods.trial.prediction import Prediction, predict
from dipddpm.tui.cli.output import print_table

Purpose: TypeAlias = Literal["fit", "test"]
PHOTOGRAPHS: dict[Purpose, tuple[str, ...]] = {
    "fit": ("coins", "rocket", "immunohistochemistry", "moon", "gravel", "hubble_deep_field", "retina"),
    "test": ("chelsea", "coffee", "brick", "grass", "cell", "clock", "stereo_motorcycle"),
}
"""Pictures of scikit-image, none of which is in both sets; `camera` and `astronaut` are in neither."""
LEAVES, FEWER_LEAVES = 0.4, 0.15
"""The share of drawn dead leaves among the pictures; where resolution is lost, since half of them are out of focus."""
KNOWN_LEVELS = 0.3
"""The share of noisy pictures in the fit whose level is known."""
METHODS = {
    "denoise": ("nlm", "tv", "wavelet", "nl-bayes"),
    "random mask": ("kriging", "biharmonic"),
    "text mask": ("kriging", "biharmonic"),
    "superres": ("bicubic",),
    "deblur": ("wiener", "richardson-lucy"),
}
"""The classic methods of each kind of damage."""
KINDS = ("denoise", "random mask", "denoise", "superres", "denoise", "text mask", "denoise", "deblur")
"""Kinds of damage, in turn."""
DIP = DipConfig(iterations=100, scales=3, channels=16, skip_channels=4, input_channels=8)
SIDE, LARGE, DIP_SIDE = 128, 192, 64
"""Sides of the pictures: usual ones, large ones of which two parts of the usual size are tried, and those of DIP."""

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Damaged:
    """A damaged picture of which the truth (1, C, H, W) is known, and the method that restores it."""

    kind: str
    method: str
    picture: str
    truth: Tensor
    case: Case
    corners: tuple[tuple[int, int], ...] = ()
    """Corners of the parts that are tried; empty if that is the whole picture."""
    noise_error: float = 0.0


class Row(msgspec.Struct, frozen=True):
    """A restoration: its PSNR, and the features from which that is predicted, with the trial alone and afterwards."""

    number: int
    kind: str
    method: str
    picture: str
    noise: float
    psnr: float
    seconds: float
    trial: Features
    final: Features

    def predicted(self, *, final: bool = True) -> Prediction:
        """Return the prediction by the models that are in the package; NaN if no model predicts this."""
        prediction = predict(self.final if final else self.trial, self.method, final=final)
        return prediction or Prediction(math.nan, math.nan, math.nan)


def measure(
    *,
    cases: Annotated[int, typer.Option(min=1, help="Number of restorations.")] = 100,
    first: Annotated[int, typer.Option(min=0, help="Number of the first case; it seeds all its draws.")] = 200,
    purpose: Annotated[str, typer.Option(help="Pictures to restore: test, or fit for those of the fit.")] = "test",
    out: Annotated[Path, typer.Option(help="CSV to which rows are added; those in it aren't measured again.")] = Path(
        "build/predictions/test.csv"
    ),
) -> None:
    """Measure how well PSNRs are predicted: the share within 1 dB, and how often the 90% interval contains the PSNR."""
    torch.set_num_threads(1)
    rows = load(out)
    numbers = range(first, first + cases)
    for number in numbers:
        if number not in rows:
            rows[number] = restore(number, "fit" if purpose == "fit" else "test")
            append(out, rows[number])
    print_table(table([rows[number] for number in numbers]))


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the results by kind of damage, as a table."""
    head = ("KIND", "CASES", "WITHIN 1 dB", "IN INTERVAL", "WIDTH", "BIAS", "TRIAL WITHIN", "TRIAL IN", "SECONDS")
    lines: list[tuple[str, ...]] = [head]
    for kind in [*dict.fromkeys(row.kind for row in rows), "all"]:
        chosen = [row for row in rows if kind in (row.kind, "all")]
        final = [(row.psnr, row.predicted()) for row in chosen]
        early = [(row.psnr, row.predicted(final=False)) for row in chosen]
        lines.append(
            (
                kind,
                str(len(chosen)),
                f"{np.mean([abs(p.psnr - psnr) <= 1 for psnr, p in final]):.0%}",
                f"{np.mean([p.lower <= psnr <= p.upper for psnr, p in final]):.0%}",
                f"{np.mean([p.upper - p.lower for _, p in final]):.1f} dB",
                f"{np.mean([p.psnr - psnr for psnr, p in final]):+.2f} dB",
                f"{np.mean([abs(p.psnr - psnr) <= 1 for psnr, p in early]):.0%}",
                f"{np.mean([p.lower <= psnr <= p.upper for psnr, p in early]):.0%}",
                f"{np.mean([row.seconds for row in chosen]):.1f}",
            )
        )
    return lines


def load(path: Path) -> dict[int, Row]:
    """Read the rows of a file by their numbers."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = [
            msgspec.convert({**row, **{name: json.loads(row[name]) for name in ("trial", "final")}}, Row, strict=False)
            for row in csv.DictReader(file)
        ]
    return {row.number: row for row in rows}


def append(path: Path, row: Row) -> None:
    """Add a row to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    began = path.is_file()
    fields = msgspec.to_builtins(row)
    fields |= {name: json.dumps(fields[name]) for name in ("trial", "final")}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(fields))
        if not began:
            writer.writeheader()
        writer.writerow(fields)


def restore(number: int, purpose: Purpose) -> Row:
    """Damage and restore a picture, whose number decides on everything, and measure it."""
    began = time.process_time()
    damaged = damage(number, purpose)
    case, truth = damaged.case, damaged.truth
    parts = [case] if not damaged.corners else [_cut(case, corner) for corner in damaged.corners]
    together = parts[0] if len(parts) == 1 else _join(parts)
    makers = {damaged.method: lambda each: restorer(damaged.method, each)}
    trial = Trial(together, makers, time.process_time, noise_error=damaged.noise_error)
    for _ in trial:
        pass
    final = restorer(damaged.method, case)
    for _ in final:
        pass
    restored = final.images.detach()
    cut = restored
    if damaged.corners:
        cut = torch.cat([restored[..., top : top + SIDE, left : left + SIDE] for top, left in damaged.corners])
    error = (clipping_corrected(restored, case).clamp(0, 1) - truth).square().mean().item()
    noise = case.degradation.noise
    return Row(
        number=number,
        kind=damaged.kind,
        method=damaged.method,
        picture=damaged.picture,
        noise=255 * noise.sigma if isinstance(noise, GaussianNoise) else 0.0,
        psnr=-10 * math.log10(max(error, 1e-12)),
        seconds=time.process_time() - began,
        trial=trial.features(),
        final=trial.features(case, restored, cut),
    )


def restorer(method: str, case: Case) -> Restorer:
    """Build a method's restorer."""
    return DipRestorer(case, DIP) if method == "dip" else ClosedFormRestorer(case, CLASSICS[method].restore)


def damage(number: int, purpose: Purpose) -> Damaged:
    """Damage a picture as people have it: with numpy's noise, clipped and rounded to 8 bits."""
    rng = np.random.default_rng([number, purpose == "test"])
    kind = KINDS[number % len(KINDS)]
    methods = [name for name in METHODS[kind] if name in CLASSICS]
    dip = rng.random() < 0.12
    method = "dip" if dip else str(rng.choice(methods))
    large = not dip and kind in ("denoise", "text mask") and method != "kriging" and rng.random() < 0.2
    side = DIP_SIDE if dip else LARGE if large else SIDE
    picture, truth = draw_picture(rng, purpose, side, FEWER_LEAVES if kind in ("superres", "deblur") else LEAVES)
    sigma, noise_error, level_known = 0.0, 0.0, True
    operator: Operator = Identity()
    if kind == "denoise":
        sigma = math.exp(rng.uniform(math.log(5), math.log(75))) / 255
        level_known = rng.random() < KNOWN_LEVELS and purpose == "fit"
    elif kind.endswith("mask"):
        known = rng.random((side, side)) >= rng.uniform(0.3, 0.7) if kind == "random mask" else ~text(rng, side)
        operator = Mask(torch.from_numpy(known).float()[None, None])
    elif kind == "superres":
        operator = BlockMean(2, (side, side))
    else:
        sigma = rng.uniform(1, 5) / 255
        operator = CircularBlur(gaussian_kernel(rng.uniform(0.8, 2)), (side, side))
    clean = operator.A(truth)
    y = np.rint(255 * (clean.numpy() + sigma * rng.standard_normal(clean.shape)).clip(0, 1)) / 255
    measured = torch.from_numpy(y).float()
    given = measured * operator.measured(measured)
    n, c, h, w = truth.shape
    noise: Noise = GaussianNoise(sigma)
    if not level_known:
        noise, noise_error = estimated(given)
    case = Case(given, Degradation(operator, noise), (n, c, h, w), number)
    corners = tuple((int(top), int(left)) for top, left in rng.integers(0, side - SIDE + 1, (2, 2))) if large else ()
    return Damaged(kind, method, picture, truth, case, corners, noise_error)


def estimated(y: Tensor) -> tuple[Noise, float]:
    """Return the noise that the program finds in a picture of unknown noise, and its relative standard error."""
    estimate = estimate_noise(y[0], torch.ones_like(y[0]))
    level = estimate.photons or estimate.sigma
    error = (estimate.upper - estimate.lower) / 2 / 1.645 / max(estimate.sigma, 1.0)
    return (estimate.noise() if level and not estimate.hit else GaussianNoise(1 / 255)), error


def draw_picture(rng: np.random.Generator, purpose: Purpose, side: int, leaves: float) -> tuple[str, Tensor]:
    """Draw a name and a true picture (1, C, side, side) in 8 bits: dead leaves, or a part of a photograph."""
    name = "leaves" if rng.random() < leaves else str(rng.choice(PHOTOGRAPHS[purpose]))
    if name == "leaves":
        pixels: Floats = dead_leaves(rng, side).astype(np.float64)
    else:
        loaded = getattr(photographs, name)()
        whole = np.atleast_3d(loaded[0] if isinstance(loaded, tuple) else loaded)[..., :3] / 255
        times = int(rng.integers(1, 3)) if min(whole.shape[:2]) >= 2 * side else 1
        top, left = (rng.integers(0, length - side * times + 1) for length in whole.shape[:2])
        pixels = whole[top : top + side * times, left : left + side * times]
        pixels = pixels.reshape(side, times, side, times, -1).mean((1, 3))
    if rng.random() < 0.6:
        pixels = pixels.mean(-1, keepdims=True)
    rounded = np.rint(255 * pixels) / 255
    return name, torch.from_numpy(np.moveaxis(rounded, -1, 0)[None]).float().contiguous()


def text(rng: np.random.Generator, side: int) -> NDArray[np.bool_]:
    """Draw lines of letters, true where one is."""
    image = Image.new("1", (side, side))
    size = int(rng.integers(9, 20))
    font = ImageFont.load_default(size)
    for top in range(0, side, round(size * rng.uniform(1.3, 2.5))):
        line = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz   "), 60))
        ImageDraw.Draw(image).text((-3, top), line, 1, font)
    return np.asarray(image)


def _cut(case: Case, corner: tuple[int, int]) -> Case:
    top, left = corner
    operator = case.degradation.operator
    if isinstance(operator, Mask):
        operator = Mask(operator.mask[..., top : top + SIDE, left : left + SIDE])
    y = case.y[..., top : top + SIDE, left : left + SIDE]
    return Case(y, Degradation(operator, case.degradation.noise), (1, case.shape[1], SIDE, SIDE), case.seed)


def _join(parts: Sequence[Case]) -> Case:
    first = parts[0]
    operators = [part.degradation.operator for part in parts]
    masks = [operator.mask for operator in operators if isinstance(operator, Mask)]
    operator = Mask(torch.cat(masks)) if masks else operators[0]
    y = torch.cat([part.y for part in parts])
    return Case(y, Degradation(operator, first.degradation.noise), (len(parts), *first.shape[1:]), first.seed)
