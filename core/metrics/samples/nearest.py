"""The nearest training image of each sample, in pixels and in features, which reveals copies of training images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.core.data import ImageSet
from dipddpm.core.events import Pictures
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.samples.classifier import as_bytes, features_of, load_classifier

CHUNK = 4_096
"""Training images that are compared with all samples at once."""
QUANTILE = 0.01
"""Quantile of the distances of real images below which a sample is suspected to be a copy."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest training image of each of N samples."""

    indices: Tensor
    """The indices of the training images, int64 (N,)."""
    distances: Tensor
    """The distances, float32 (N,): root mean square difference of pixels in [0, 1], or Euclidean of features."""


def nearest_in_pixels(samples: Tensor, training: ImageSet) -> Nearest:
    """Find the nearest training images by the pixels of 28x28 grey images, uint8 or float in [0, 1].

    Blurred samples are close to some training image even if they are no copies.
    """
    queries, keys = (to_unit(as_bytes(images)).flatten(1) for images in (samples, training.images))
    nearest = _nearest(queries, keys)
    return Nearest(nearest.indices, nearest.distances / queries.shape[1] ** 0.5)


def nearest_in_features(samples: Tensor, training: ImageSet) -> Nearest:
    """Find the nearest training images by the classifier's features, which small shifts and noise hardly change."""
    return _nearest(load_classifier().features(samples), features_of(training))


SEARCHES = {"pixels": nearest_in_pixels, "features": nearest_in_features}
"""The searches for the nearest training images, by the space of their distances."""


def suspected_copies(samples: Nearest, held_out: Nearest) -> float:
    """Return the share of samples that are nearer to a training image than 99% of `held_out` real images are.

    The share is about 0.01 for a model that generates new images, and 1 for a model that copies. `held_out` images are
    of the same kind, weren't trained on, and are compared with the same training images in the same space.
    """
    threshold = torch.quantile(held_out.distances, QUANTILE)
    return float((samples.distances < threshold).double().mean())


def nearest_pictures(samples: Tensor, training: ImageSet, *, step: int = 0, shown: int = 16) -> Pictures:
    """Return a picture with a row for each of the first samples: the sample, its nearest in pixels and in features."""
    samples = samples[:shown]
    drawn = to_unit(as_bytes(samples))
    nearest = (to_unit(training.images[search(samples, training).indices].cpu()) for search in SEARCHES.values())
    return Pictures(
        name="nearest",
        images=torch.stack([drawn, *nearest], 1).flatten(0, 1),
        step=step,
        title=f"Samples and their nearest training images of {training.name}",
        columns=3,
        panels=("sample", *(f"nearest in {space}" for space in SEARCHES)),
    )


def _nearest(queries: Tensor, keys: Tensor) -> Nearest:
    """Find the row of `keys` (M, d) nearest to each of `queries` (N, d); of equally near rows, the first."""
    best = queries.new_full((len(queries),), torch.inf)
    indices = torch.zeros(len(queries), dtype=torch.int64)
    for start in range(0, len(keys), CHUNK):
        part = keys[start : start + CHUNK]
        # |q - k|^2 without |q|^2, which is the same for all keys.
        gaps, chunk_indices = torch.addmm(part.square().sum(1), queries, part.T, alpha=-2).min(1)
        closer = gaps < best
        best = torch.where(closer, gaps, best)
        indices = torch.where(closer, chunk_indices + start, indices)
    # Recompute the distances, since cancellation in the expansion above gives a copy a distance above 0.
    return Nearest(indices, torch.linalg.vector_norm(queries - keys[indices], dim=1))
