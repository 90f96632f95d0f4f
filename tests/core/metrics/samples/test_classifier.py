from __future__ import annotations

import pytest
import torch

from dipddpm.core import data
from dipddpm.core.compute import checkpoint
from dipddpm.core.data import ImageSet
from dipddpm.core.errors import UserError
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.metrics.samples.classifier import WEIGHTS_FILE, FashionClassifier, load_classifier


def test_classifier_weights_are_small_and_load_as_checkpoint() -> None:
    assert WEIGHTS_FILE.stat().st_size < 500_000
    network = checkpoint.load(WEIGHTS_FILE)
    assert isinstance(network, FashionClassifier)
    assert not network.training
    assert sum(p.numel() for p in network.parameters()) == 107_322
    assert load_classifier().sha256 == checkpoint.digest(WEIGHTS_FILE)


def test_classifier_accuracy_matches_stored_value() -> None:
    try:
        test = data.load("fashionmnist", "test")
    except UserError:
        pytest.skip("FashionMNIST is not on this machine")
    stored = checkpoint.load_state(WEIGHTS_FILE)
    assert stored["data"]["test"] == test.sha256
    accuracy = load_classifier().accuracy(test.images, test.labels)
    assert accuracy > 0.92
    # Another processor may round one image near a boundary the other way.
    assert accuracy == pytest.approx(stored["accuracy"]["test"], abs=3e-4)


def test_classifier_recognises_clothes_but_not_noise(test: ImageSet) -> None:
    classifier = load_classifier()
    assert classifier.accuracy(test.images, test.labels) > 0.9
    noise = torch.rand(test.images.shape, generator=torch.Generator().manual_seed(0))
    assert classifier.accuracy(noise, test.labels) < 0.2


def test_classifier_features_are_input_of_last_layer(test: ImageSet) -> None:
    classifier = load_classifier()
    features = classifier.features(test.images)
    assert features.shape == (len(test), 64)
    assert features.min() >= 0
    with torch.no_grad():
        logits = classifier.network(to_model(test.images))
        assert torch.allclose(classifier.network.head(features), logits, atol=1e-4)
    assert torch.equal(classifier.predict(test.images), logits.argmax(1))


def test_classifier_rounds_floats_to_bytes(test: ImageSet) -> None:
    classifier = load_classifier()
    expected = classifier.features(test.images)
    unit = to_unit(test.images)
    assert torch.equal(classifier.features(unit), expected)
    assert torch.equal(classifier.features((unit + 0.4 / 255).double()), expected)
    beyond = torch.where(unit == 0, -3.0, torch.where(unit == 1, 7.0, unit))
    assert torch.equal(classifier.features(beyond), expected)


def test_classifier_features_are_independent_of_batch(test: ImageSet) -> None:
    classifier = load_classifier()
    together = classifier.features(test.images[:20])
    alone = torch.cat([classifier.features(image[None]) for image in test.images[:20]])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 1, 32, 32), (2, 28, 28), (28, 28)])
def test_classifier_refuses_other_image_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="28x28 grey"):
        load_classifier().features(torch.zeros(shape))


def test_classifier_refuses_nan() -> None:
    images = torch.zeros(3, 1, 28, 28)
    images[1, 0, 4, 5] = torch.nan
    with pytest.raises(UserError, match="NaN"):
        load_classifier().predict(images)
