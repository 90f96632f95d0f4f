"""Coverage of a posterior sampler: how often the intervals of its samples contain the true pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def coverage(samples: Tensor, truth: Tensor, level: float) -> Tensor:
    """Return the share of each image's pixels, (N,), that lie in the central interval of the samples with this level.

    `samples` are K restorations of each image, (K, N, C, H, W), and `truth` is (N, C, H, W); both on any scale. If the
    truth is drawn like the samples, the expected share is exactly `level`, for any K: then the number of samples below
    the truth is uniform on 0 .. K, so that the interval from the r-th smallest to the r-th largest sample contains the
    truth with probability 1 - 2 r / (K + 1). With r = (1 - level) (K + 1) / 2 this is the level; if r isn't whole,
    the shares of the two nearest intervals are interpolated. Samples equal to the truth, as clipped pixels often are,
    count as below it or above it at random, in the mean over all orders.

    A level above `widest_level(K)` has no such interval: ValueError. An image with samples that aren't finite has NaN.
    """
    count = len(samples)
    if not 0 < level <= widest_level(count):
        raise ValueError(f"{count} samples give intervals of levels up to {widest_level(count):.2g}, not {level:.2g}")
    below = (samples < truth).sum(0)
    equal = (samples == truth).sum(0)
    order = (1 - level) * (count + 1) / 2
    whole = math.floor(order + 1e-9)
    inner = order - whole
    share = (1 - inner) * _inside(below, equal, count, whole) + inner * _inside(below, equal, count, whole + 1)
    finite = samples.isfinite().flatten(2).all(2).all(0)
    return torch.where(finite, share.flatten(1).mean(1), torch.nan)


def widest_level(count: int) -> float:
    """Return the highest level for which `count` samples have an interval, that from the least to the largest."""
    return (count - 1) / (count + 1)


def _inside(below: Tensor, equal: Tensor, count: int, order: int) -> Tensor:
    """Return the probability that the truth is between the `order`-th smallest and largest samples, ties at random."""
    first = below.clamp(min=order)
    last = (below + equal).clamp(max=count - order)
    return (last - first + 1).clamp(min=0) / (equal + 1)
