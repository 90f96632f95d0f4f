"""The prior of dead leaves against BM3D, DIP and interpolation: noise of known levels, and missing pixels."""

from __future__ import annotations

import csv
import importlib
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from skimage import metrics as _metrics
from skimage import restoration as _restoration
from torch import Tensor

from benchmarks.damage import middle, truth_of
from benchmarks.options import Threads, resolve
from dipddpm.core.config import DipConfig
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade import Degradation, GaussianNoise, Identity
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.operators import Mask
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.patch_prior import PatchPriorRestorer
from dipddpm.core.runs import reference
from dipddpm.tui.cli.output import print_table

metrics: Any = _metrics  # annotated in part
restoration: Any = _restoration
COLUMNS = ("picture", "size", "task", "method", "psnr", "ssim", "cpu_seconds")
TASKS = ("sigma 10", "sigma 25", "sigma 50", "50% missing")
DIP_SIDE = 128
"""The largest pictures to which DIP is fitted; larger ones take hours on a CPU."""


def measure(
    out: Annotated[Path, typer.Argument(help="The CSV file of the rows; those that are in it aren't made again.")],
    picture: Annotated[list[str], typer.Option(help="Pictures of scikit-image.")] = ["chelsea", "coffee"],  # noqa: B006
    size: Annotated[int, typer.Option(min=0, help="Side of the square in the middle; 0: whole pictures.")] = 0,
    only: Annotated[str, typer.Option(help="Methods whose names contain this.")] = "",
    threads: Threads = 1,
) -> None:
    """Measure PSNR, SSIM and seconds on pictures with noise of sigma 10, 25 and 50, and with half the pixels missing.

    The noise is Gaussian, drawn by numpy and not clipped, and all methods know its level, as in BM3D's paper.
    """
    resolve("cpu", threads)
    done = {tuple(row[:4]) for row in _rows(out)}
    for name in picture:
        whole = truth_of(name)
        truth = torch.from_numpy(whole[middle(whole, size)].astype(np.float32) / 255)
        truth = (truth[None, None] if truth.ndim == 2 else truth.permute(2, 0, 1)[None]).contiguous()
        for task in TASKS:
            case = damaged_case(truth, task, zlib.crc32(f"{name} {task}".encode()))
            for method, restore in _methods(case):
                key = (name, str(size), task, method)
                if key in done or only not in method:
                    continue
                started = time.process_time()
                restored = restore().clamp(0, 1)
                seconds = time.process_time() - started
                row = (*key, f"{_psnr(truth, restored):.2f}", f"{_ssim(truth, restored):.4f}", f"{seconds:.1f}")
                with out.open("a", newline="") as file:
                    csv.writer(file).writerow(row)
                print(", ".join(row), flush=True)
    print_table([COLUMNS, *map(tuple, _rows(out))])


def damaged_case(truth: Tensor, task: str, seed: int) -> Case:
    """Return measurements of a picture (1, C, H, W): noisy ones, or half of the pixels."""
    n, c, h, w = truth.shape
    random = np.random.default_rng(seed)
    if task == "50% missing":
        known = torch.from_numpy((random.random((1, 1, h, w)) >= 0.5).astype(np.float32))
        return Case(truth * known, Degradation(Mask(known), GaussianNoise(0.0)), (n, c, h, w))
    sigma = float(task.split()[1]) / 255
    noise = torch.from_numpy(random.standard_normal((n, c, h, w)).astype(np.float32))
    return Case(truth + sigma * noise, Degradation(Identity(), GaussianNoise(sigma)), (n, c, h, w))


def _methods(case: Case) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Yield the methods for a case, by name."""
    if isinstance(case.degradation.operator, Identity):
        yield "patch-prior, one view", lambda: _patch_prior(case, 1)
        yield "bm3d", lambda: _bm3d(case)
    else:
        yield "biharmonic", lambda: _biharmonic(case)
    yield "patch-prior", lambda: _patch_prior(case)
    if max(case.shape) <= DIP_SIDE:
        yield "dip", lambda: _run(DipRestorer(case, DipConfig()))


def _patch_prior(case: Case, views: int = 4) -> Tensor:
    prior = TrainedModel.of_run(reference.prior_folder("leaves"))
    return _run(PatchPriorRestorer(case, prior, views=views, with_spread=False))


def _run(restorer: Restorer) -> Tensor:
    for _ in restorer:
        pass
    return restorer.images


def _bm3d(case: Case) -> Tensor:
    bm3d: Any = importlib.import_module("bm3d")
    sigma, y = case.degradation.noise.sigma, case.y[0].permute(1, 2, 0).double().numpy()  # type: ignore[attr-defined]
    result = bm3d.bm3d(y[..., 0], sigma) if y.shape[2] == 1 else bm3d.bm3d_rgb(y, sigma)
    return torch.from_numpy(np.asarray(result, np.float32).reshape(y.shape)).permute(2, 0, 1)[None]


def _biharmonic(case: Case) -> Tensor:
    missing = case.degradation.operator.measured(case.y)[0, 0].numpy() == 0
    y = case.y[0].permute(1, 2, 0).double().numpy()
    filled = restoration.inpaint_biharmonic(y, missing, split_into_regions=True, channel_axis=2)
    return torch.from_numpy(np.asarray(filled, np.float32)).permute(2, 0, 1)[None]


def _psnr(truth: Tensor, restored: Tensor) -> float:
    return float(metrics.peak_signal_noise_ratio(truth.numpy(), restored.numpy(), data_range=1))


def _ssim(truth: Tensor, restored: Tensor) -> float:
    images = (image[0].permute(1, 2, 0).numpy() for image in (truth, restored))
    return float(metrics.structural_similarity(*images, data_range=1, channel_axis=2))


def _rows(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.reader(file))
