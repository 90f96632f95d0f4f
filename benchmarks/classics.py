"""The classic methods on pictures of scikit-image, with noise that numpy draws: PSNR, SSIM and seconds, by row."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import skimage.data as _data
import torch
import typer
from skimage import metrics as _metrics

from benchmarks.results import load, save
from dipddpm.core.degrade import CircularBlur, Degradation, GaussianNoise, Identity, Mask, Operator
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.measure import gaussian_kernel
from dipddpm.core.errors import UserError
from dipddpm.core.methods.classical.pictures import task_of
from dipddpm.core.methods.classical.table import CLASSICS

metrics: Any = _metrics  # annotated in part
data: Any = _data
PICTURES = ("chelsea", "coffee", "rocket", "immunohistochemistry", "coins", "brick", "moon")
DAMAGES = ("sigma 10", "sigma 25", "sigma 50", "missing 50%", "text", "blur 1.5, sigma 2")


class Row(msgspec.Struct, frozen=True):
    """The result of one method on one damaged picture."""

    picture: str
    damage: str
    method: str
    psnr: float
    ssim: float
    seconds: float


class Results(msgspec.Struct):
    """The rows so far, and the side of the crops that they belong to."""

    side: int
    rows: list[Row]


def measure(
    out: Annotated[Path, typer.Option(help="results so far; rows that it holds aren't measured again")] = Path(
        "classics.json"
    ),
    side: Annotated[int, typer.Option(help="side of the crop of each picture, in pixels")] = 128,
) -> None:
    """Restore crops of pictures by every classic method, and print the means over pictures."""
    results = load(out, Results) or Results(side, [])
    if results.side != side:
        raise UserError(f"The results in {out} are of crops of {results.side} pixels.", "Choose another --out.")
    done = {(row.picture, row.damage, row.method) for row in results.rows}
    for picture in PICTURES:
        truth = _crop(picture, side)
        for damage in DAMAGES:
            case = _damaged(truth, damage)
            task, noise = task_of(case.degradation.operator), case.degradation.noise.kind
            names = [name for name, classic in CLASSICS.items() if classic.supports(task, noise)]
            for name in (name for name in names if (picture, damage, name) not in done):
                results.rows.append(_row(picture, damage, name, truth, case))
                save(out, results)
    for damage in DAMAGES:
        for name in CLASSICS:
            rows = [row for row in results.rows if (row.damage, row.method) == (damage, name)]
            if rows:
                psnr, ssim, seconds = (
                    float(np.mean([getattr(row, field) for row in rows])) for field in ("psnr", "ssim", "seconds")
                )
                print(f"{damage:18} {name:16} {psnr:6.2f} dB  {ssim:.3f}  {seconds:6.2f} s")


def _crop(picture: str, side: int) -> torch.Tensor:
    """Return the middle of a picture, (1, C, side, side)."""
    pixels = np.atleast_3d(getattr(data, picture)()) / 255
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return torch.from_numpy(pixels[top : top + side, left : left + side]).movedim(2, 0)[None].float()


def _damaged(truth: torch.Tensor, damage: str) -> Case:
    rng = np.random.default_rng(0)
    size = (truth.shape[2], truth.shape[3])
    operator: Operator = Identity()
    sigma = 0.0
    if damage.startswith("sigma"):
        sigma = float(damage.split()[1]) / 255
    elif damage.startswith("blur"):
        operator, sigma = CircularBlur(gaussian_kernel(1.5), size), 2 / 255
    elif damage == "text":
        letters = np.asarray(data.text())  # handwriting on white paper, (172, 448)
        repeated = np.tile(letters, [-(-side // length) for side, length in zip(size, letters.shape, strict=True)])
        operator = Mask(torch.from_numpy(repeated[: size[0], : size[1]] > 100).float()[None, None])
    else:
        operator = Mask(torch.from_numpy(rng.random((1, 1, *size)) < 0.5).float())
    y = operator.A(truth)
    y = (y + sigma * torch.from_numpy(rng.standard_normal(y.shape)).float()) * operator.measured(y)
    return Case(y, Degradation(operator, GaussianNoise(sigma)), (*truth.shape,))


def _row(picture: str, damage: str, name: str, truth: torch.Tensor, case: Case) -> Row:
    begun = time.perf_counter()
    restored = CLASSICS[name].restore(case)
    seconds = time.perf_counter() - begun
    image, x = restored[0].clip(0, 1).double().numpy(), truth[0].double().numpy()
    psnr = float(metrics.peak_signal_noise_ratio(x, image, data_range=1))
    ssim = float(metrics.structural_similarity(x, image, data_range=1, channel_axis=0))
    return Row(picture, damage, name, psnr, ssim, seconds)
