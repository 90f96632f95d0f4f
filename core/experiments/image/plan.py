"""The plan of a group's restoration: its tiles, the parts on which methods are tried, and the memory that it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.config.picture import PictureConfig
from dipddpm.core.degrade.case import Case
from dipddpm.core.experiments.image.parts import HOLES, blur_radius, factor_of, largest_hole
from dipddpm.core.experiments.image.tiles import Window, divide

TILE = 256
"""Side of a tile in pixels of the result, unless the config sets one."""
SAMPLE = 96
"""Side of the parts of a picture on which methods are tried, in pixels of the result."""
SAMPLES = 4
"""The number of these parts."""
BATCH = 16
"""The most pictures of a stack or group whose tiles are restored at once."""
BATCH_PIXELS = 2**18
"""The most pixels in such a batch of tiles."""
FIXED_BYTES = 600 * 2**20
"""Memory of the program itself, with torch loaded."""
CANVASES = 8
"""Float copies of all pictures of a group that exist at once: measurements, sums, results and their maps."""
WORKING = {"dip": 6000, "calibrated": 6000, "patch-prior": 3000}
"""Bytes of working memory for each pixel of a batch of tiles, by method; `CLASSIC_WORKING` for the others."""
CLASSIC_WORKING = 1200


@dataclass(frozen=True)
class Plan:
    """The jobs of a group: each restores one window of some of its pictures."""

    label: str
    """Names the group in the seeds of its random draws."""
    shape: tuple[int, int, int, int]
    """The shape (N, C, H, W) of the pictures to restore."""
    factor: int
    """How many times as long the sides of the restored pictures are as those of the given ones."""
    windows: list[Window]
    """The tiles, in pixels of the given pictures, mirrored at their borders if they are blurred."""
    samples: list[Window]
    """The parts on which methods are tried."""
    candidates: list[str]
    """The methods to try; empty if nothing is to be predicted."""
    method: str
    """The method that restores; empty if the best candidate does."""
    overlap: int
    pad: int
    """The pixels by which blurred pictures are mirrored at each border."""
    margin: int
    """The outer pixels of a tile that are not used."""

    @property
    def batch(self) -> int:
        """The number of pictures in a job, at most."""
        window = self.windows[0]
        return max(1, min(BATCH, BATCH_PIXELS // (window.height * window.width * self.factor**2), self.shape[0]))

    @property
    def jobs(self) -> int:
        """The number of jobs."""
        return len(self.windows) * math.ceil(self.shape[0] / self.batch)

    def job(self, index: int) -> tuple[Window, slice]:
        """Return the window of a job and the pictures, as a slice."""
        per_window = math.ceil(self.shape[0] / self.batch)
        first = index % per_window * self.batch
        return self.windows[index // per_window], slice(first, min(first + self.batch, self.shape[0]))

    @property
    def bytes(self) -> int:
        """The memory that the restoration takes at most, roughly."""
        window = self.windows[0]
        working = max(WORKING.get(name, CLASSIC_WORKING) for name in [self.method, *self.candidates] if name)
        tile = window.height * window.width * self.factor**2 * self.batch
        return FIXED_BYTES + CANVASES * 4 * math.prod(self.shape) + working * tile * self.shape[1] // 3

    @property
    def sentence(self) -> str:
        """A sentence about the size of the work."""
        count, channels, height, width = self.shape
        height, width = height - 2 * self.pad, width - 2 * self.pad
        colours = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
        pictures = f"{count} pictures of " if count > 1 else ""
        window = self.windows[0].scaled(self.factor)
        tiles = f"{len(self.windows)} tiles of {window.width}x{window.height}" if len(self.windows) > 1 else "one tile"
        return (
            f"{pictures}{width}x{height} pixels, {colours}: {tiles}, up to about {self.bytes / 2**30:.1f} GiB of memory"
        )


def make_plan(case: Case, pad: int, options: PictureConfig, *, label: str, candidates: list[str], method: str) -> Plan:
    """Plan the restoration of a case, which is mirrored by `pad` pixels at its borders if it is blurred."""
    factor, margin = factor_of(case), blur_radius(case.degradation.operator)
    overlap = options.overlap + 2 * margin
    least = max(HOLES * largest_hole(case.degradation.operator), 3 * margin + options.overlap)
    side = max((options.tile or TILE) // factor, least, 2)
    height, width = int(case.y.shape[-2]), int(case.y.shape[-1])
    windows = divide((height, width), side, max(1, overlap // factor))
    return Plan(
        label=label,
        shape=case.shape,
        factor=factor,
        windows=windows,
        samples=_samples(case, max(SAMPLE // factor + 2 * margin, min(least, 2 * SAMPLE))),
        candidates=candidates,
        method=method,
        overlap=max(1, overlap // factor),
        pad=pad,
        margin=margin,
    )


def _samples(case: Case, side: int) -> list[Window]:
    """Choose parts of the first picture that represent it: from the flattest to the most detailed quarter.

    Where pixels are missing, the parts are chosen among those that miss about as many as the whole picture.
    """
    height, width = int(case.y.shape[-2]), int(case.y.shape[-1])
    tall, wide = min(side, height), min(side, width)
    tops, lefts = (
        [round(float(first)) for first in torch.linspace(0, length - part, math.ceil(length / part))]
        for length, part in ((height, tall), (width, wide))
    )
    windows = [Window(top, left, tall, wide) for top in tops for left in lefts]
    measured = case.degradation.operator.measured(case.y[:1])[:, :1].float()
    missing = [1 - float(window.of(measured).mean()) for window in windows]
    typical = 1 - float(measured.mean())
    suitable = [w for w, share in zip(windows, missing, strict=True) if 0.5 * typical <= share < (1 + typical) / 2]
    detail = _detail(case.y[:1], measured)
    ordered = sorted(suitable or windows, key=lambda window: float(window.of(detail).mean()))
    count = min(SAMPLES, len(ordered))
    return [ordered[(2 * index + 1) * len(ordered) // (2 * count)] for index in range(count)]


def _detail(y: Tensor, measured: Tensor) -> Tensor:
    """Return the squared differences of neighbouring measured pixels, averaged over channels, (1, 1, H, W)."""
    known = measured[..., :, 1:] * measured[..., :, :-1]
    squares = (y[..., :, 1:] - y[..., :, :-1]).square().mean(1, keepdim=True) * known
    padded: Tensor = F.pad(squares, (0, 1), value=0.0)
    return padded if bool(torch.isfinite(padded).all()) else torch.zeros_like(padded)
