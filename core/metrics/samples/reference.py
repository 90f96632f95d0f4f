"""Features of whole data sets, which samples are compared with: computed once, then kept in the cache folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from torch import Tensor

from dipddpm.core.compute import checkpoint
from dipddpm.core.data import ImageSet, cache_folder
from dipddpm.core.errors import UserError
from dipddpm.core.metrics.samples.classifier import Classifier, load_classifier


def features_of(images: ImageSet, classifier: Classifier | None = None) -> Tensor:
    """The features (N, 64) of a data set by the classifier that ships, or by `classifier`.

    What is in the cache counts only for the very same images and weights; a damaged file is made anew, and where the
    cache can't be written, nothing is kept. Raises UserError for images that aren't 28x28 and grey.
    """
    classifier = classifier or load_classifier()
    key = {"images": images.sha256, "weights": classifier.sha256}
    path = cache_folder() / "features" / f"{images.sha256[:16]}-{classifier.sha256[:16]}.safetensors"
    cached = _load_cached(path, key)
    if cached is not None:
        return cached
    features = classifier.features(images.images)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(path, {**key, "features": features})
    return features


def _load_cached(path: Path, key: dict[str, str]) -> Tensor | None:
    """The features in a file of the cache, if they are those that `key` names."""
    try:
        state = checkpoint.load_state(path)
    except UserError:
        return None
    features = state.pop("features", None)
    return features if isinstance(features, Tensor) and state == key else None
