from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dipddpm.core.data import ImageSet, cache_folder
from dipddpm.core.metrics.samples.classifier import Classifier, FashionClassifier, features_of, load_classifier


class Counting(FashionClassifier):
    """A classifier that counts its evaluations."""

    calls = 0

    def features(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images.flatten(1)[:, :64]


@pytest.fixture
def counting() -> Classifier:
    return Classifier(Counting(), sha256="0" * 64)


def calls(classifier: Classifier) -> int:
    assert isinstance(classifier.network, Counting)
    return classifier.network.calls


def cache_file() -> Path:
    (path,) = (cache_folder() / "features").iterdir()
    return path


def test_features_of_computes_once(counting: Classifier, test: ImageSet) -> None:
    first = features_of(test, counting)
    assert calls(counting) == 1
    assert torch.equal(features_of(test, counting), first)
    assert calls(counting) == 1


def test_features_of_differs_by_images_and_weights(counting: Classifier, test: ImageSet) -> None:
    some, others = test.take(range(10)), test.take(range(10, 20))
    assert not torch.equal(features_of(some, counting), features_of(others, counting))
    assert torch.equal(features_of(some), load_classifier().features(some.images))


def test_features_of_recomputes_damaged_or_foreign_file(counting: Classifier, test: ImageSet) -> None:
    some, others = test.take(range(10)), test.take(range(10, 20))
    expected = features_of(some, counting)
    path = cache_file()
    features_of(others, counting)
    (other,) = set(path.parent.iterdir()) - {path}
    path.write_bytes(other.read_bytes())
    assert torch.equal(features_of(some, counting), expected)
    path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(features_of(some, counting), expected)
    assert calls(counting) == 4
    assert torch.equal(features_of(some, counting), expected)
    assert calls(counting) == 4


def test_features_of_works_without_writable_cache(counting: Classifier, test: ImageSet) -> None:
    cache_folder().parent.mkdir(parents=True, exist_ok=True)
    cache_folder().write_text("not a folder")
    assert features_of(test, counting).shape == (len(test), 64)
