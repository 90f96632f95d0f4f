"""Hide known pixels in the shapes of the missing ones, since large holes are harder to fill than single pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from dipddpm.core.methods.trial.perturbation import HIDDEN

Flags = NDArray[np.bool_]
"""True at some pixels, (H, W)."""

HIDDEN_HOLES = 0.2
"""Share of the known pixels to hide in holes: more than of single pixels, since errors within a hole are alike."""
CONNECTED = 0.2
"""Missing pixels count as single ones if a neighbour of one is missing no oftener than any pixel, up to this much."""
DRAWS = 200
"""Number of holes for which room is tried to be found in each picture."""
DISTANCE = 2
"""Least distance in pixels between a hidden hole and a missing one, where that leaves enough holes."""


def hide_like_missing(mask: Tensor, seed: int) -> Tensor:
    """Return which known pixels to hide, bool (N, 1, H, W); the mask (N, 1, H, W) is 1 at known pixels.

    If missing pixels lie together (text, scratches, boxes), whole holes of any of the masks are flipped and moved onto
    known pixels; else single pixels are drawn.
    """
    rng = np.random.default_rng(seed)
    known = mask[:, 0].cpu().numpy() > 0
    together = lie_together(mask)
    hidden = [_holes(each, ~known, rng) if together else _pixels(each, rng) for each in known]
    return torch.from_numpy(np.stack(hidden))[:, None].to(mask.device)


def lie_together(mask: Tensor) -> bool:
    """Return whether the missing pixels of a mask (N, 1, H, W) have more missing neighbours than single ones would."""
    missing = mask[:, 0].cpu().numpy() == 0
    share = missing.mean()
    if share in (0, 1):
        return False
    neighbours = [(missing[:, 1:] & missing[:, :-1]).mean(), (missing[:, :, 1:] & missing[:, :, :-1]).mean()]
    return bool(np.mean(neighbours) / share > share + CONNECTED * (1 - share))


def _pixels(known: Flags, rng: np.random.Generator) -> Flags:
    hidden = np.zeros_like(known)
    indices = np.flatnonzero(known)
    hidden.flat[rng.permutation(indices)[: max(1, round(HIDDEN * len(indices)))]] = True
    return hidden


def _holes(known: Flags, masks: NDArray[np.bool_], rng: np.random.Generator) -> Flags:
    """Hide holes of the masks (N, H, W), the large ones as often as they have pixels; their parts, if none has room."""
    wanted = HIDDEN_HOLES * known.sum()
    labels, _ = ndimage.label(masks, [np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
    boxes, missing = ndimage.find_objects(labels), labels[masks]
    hidden, parts = np.zeros_like(known), np.zeros_like(known)
    for _ in range(DRAWS):
        label = rng.choice(missing)
        hole = labels[boxes[label - 1]][0] == label
        hole = hole[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
        top, left = rng.integers(0, np.subtract(known.shape, hole.shape) + 1)
        here = np.s_[top : top + hole.shape[0], left : left + hole.shape[1]]
        far = ndimage.distance_transform_edt(known & ~hidden) > DISTANCE
        small = not hidden.any() or hidden.sum() + hole.sum() <= 1.5 * wanted
        if small and far[here][hole].all():
            hidden[here] |= hole
        if abs((known[here] & hole).sum() - wanted) < abs(parts.sum() - wanted):
            parts[:] = False
            parts[here] = known[here] & hole
        if hidden.sum() >= wanted:
            break
    if hidden.sum() >= wanted / 4:
        return hidden
    return parts if parts.any() else _pixels(known, rng)
