"""The event and the picture that a run yields of the spread of averaged results."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from dipddpm.core.events import Item, Pictures, SpreadMeasured
from dipddpm.core.images import clip_visibly, grey_levels, spread_map, spread_name, spread_white
from dipddpm.core.methods.base import HasSamples, Restorer
from dipddpm.core.metrics.coverage import coverage, widest_level

HALF, WIDE = 0.5, 0.9
"""The levels of the central intervals of the samples in which the truth is looked for."""


def spread_items(restorer: Restorer, truth: Tensor | None, method: str, step: int) -> Iterator[Item]:
    """Yield how far the averaged results differ and how often the truth lies between them, then a picture of it.

    The truth is (N, C, H, W), if it is known. Yields nothing for a restorer that averages nothing.
    """
    images, spread = restorer.images, restorer.spread
    if spread is None:
        return
    samples = restorer.samples if isinstance(restorer, HasSamples) else None
    count = 0 if samples is None else len(samples)
    wide, shares = coverages(samples, truth)
    yield SpreadMeasured(
        step=step,
        method=method,
        spread=root_mean_squares(spread),
        error=[] if truth is None else root_mean_squares(clip_visibly(images) - truth),
        samples=count,
        half=shares.get(HALF, []),
        wide=shares.get(wide, []),
        wide_level=wide,
    )
    yield picture(images, spread, count, truth, step)


def coverages(samples: Tensor | None, truth: Tensor | None) -> tuple[float, dict[float, list[float]]]:
    """Return the widest level that is measured, and the coverage of each image by level; 0.0 and none if unknown.

    Samples (K, N, C, H, W) and truth (N, C, H, W) are rounded to 8 bits, so that values like black can be equal.
    """
    if samples is None or truth is None:
        return 0.0, {}
    wide = min(WIDE, widest_level(len(samples)))
    rounded, true = (255 * clip_visibly(samples)).round(), (255 * truth).round()
    return wide, {level: coverage(rounded, true, level).tolist() for level in (HALF, wide) if level <= wide}


def picture(images: Tensor, spread: Tensor, samples: int, truth: Tensor | None, step: int) -> Pictures:
    """Return the images, their spread and, with a truth, their error, side by side and on one scale."""
    white = spread_white(spread)
    panels = {"restored": images, spread_name(white): spread_map(spread, white)}
    if truth is not None:
        panels["error"] = spread_map(clip_visibly(images) - truth, white)
    rows = torch.stack([panel.expand_as(images) for panel in panels.values()], 1)
    of = f"{samples} samples" if samples else "the averaged results"
    return Pictures(
        name="spread",
        images=clip_visibly(rows.flatten(0, 1)),
        step=step,
        title=f"Spread of {of}; white is {grey_levels(white)}",
        columns=len(panels) * max(1, round(math.sqrt(len(images) / len(panels)))),
        panels=tuple(panels),
    )


def root_mean_squares(images: Tensor) -> list[float]:
    """Return the root mean square of each image (N, C, H, W), in 8-bit grey levels."""
    return [float(value) for value in 255 * images.square().flatten(1).mean(1).sqrt()]
