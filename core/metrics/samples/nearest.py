"""The nearest training image of a sample, in pixels and in features: has a model learned, or does it copy?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.core.data import ImageSet
from dipddpm.core.events import Pictures
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.samples.classifier import as_bytes, features_of, load_classifier

CHUNK = 4_096
"""Training images that all samples are compared with at once."""
QUANTILE = 0.01


@dataclass(frozen=True, eq=False)
class Nearest:
    """For each of N samples, its nearest training image."""

    indices: Tensor
    """int64 (N,): which training image it is."""
    distances: Tensor
    """float32 (N,): root mean square difference of pixels in [0, 1], or Euclidean distance of features."""


def nearest_in_pixels(samples: Tensor, training: ImageSet) -> Nearest:
    """By the pixels of 28x28 grey images, uint8 or float in [0, 1]; blurred ones have near neighbours by nature."""
    own, theirs = (to_unit(as_bytes(images)).flatten(1) for images in (samples, training.images))
    nearest = _nearest(own, theirs)
    return Nearest(nearest.indices, nearest.distances / own.shape[1] ** 0.5)


def nearest_in_features(samples: Tensor, training: ImageSet) -> Nearest:
    """By the features of the classifier that ships, which see through small shifts and noise."""
    return _nearest(load_classifier().features(samples), features_of(training))


SEARCHES = {"pixels": nearest_in_pixels, "features": nearest_in_features}
"""How the nearest training images are found, by the space in which they are near."""


def suspected_copies(samples: Nearest, unseen: Nearest) -> float:
    """The share of samples that lie nearer to a training image than 99% of `unseen` real images do.

    About 0.01 for a model that draws new images, 1 for one that recites. `unseen` are images of the same kind that
    the model was not trained on, compared with the same training images in the same space.
    """
    threshold = torch.quantile(unseen.distances, QUANTILE)
    return float((samples.distances < threshold).double().mean())


def nearest_pictures(samples: Tensor, training: ImageSet, *, step: int = 0, shown: int = 16) -> Pictures:
    """A picture with a row for each of the first samples: itself, its nearest in pixels, its nearest in features."""
    samples = samples[:shown]
    own = to_unit(as_bytes(samples))
    theirs = (to_unit(training.images[search(samples, training).indices].cpu()) for search in SEARCHES.values())
    return Pictures(
        name="nearest",
        images=torch.stack([own, *theirs], 1).flatten(0, 1),
        step=step,
        title=f"Samples beside the nearest training images of {training.name}",
        columns=3,
        panels=("sample", *(f"nearest in {space}" for space in SEARCHES)),
    )


def _nearest(queries: Tensor, keys: Tensor) -> Nearest:
    """The nearest row of `keys` (M, d) to each of `queries` (N, d), the first of equals."""
    best = queries.new_full((len(queries),), torch.inf)
    indices = torch.zeros(len(queries), dtype=torch.int64)
    for start in range(0, len(keys), CHUNK):
        part = keys[start : start + CHUNK]
        # |q - k|^2 without |q|^2, which is the same for all keys.
        gaps, chunk_indices = torch.addmm(part.square().sum(1), queries, part.T, alpha=-2).min(1)
        closer = gaps < best
        best = torch.where(closer, gaps, best)
        indices = torch.where(closer, chunk_indices + start, indices)
    # Measured anew, since the difference of large numbers above would leave a copy at some distance from itself.
    return Nearest(indices, torch.linalg.vector_norm(queries - keys[indices], dim=1))
