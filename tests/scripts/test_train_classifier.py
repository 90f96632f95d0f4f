from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor

from dipddpm.core import data
from dipddpm.core.data import ImageSet
from dipddpm.core.events import BestModel, EpochFinished
from dipddpm.core.images import to_model
from dipddpm.core.metrics.samples.classifier import Classifier
from scripts.train_classifier import SHIFT, _augment
from scripts.train_classifier import train as fit_classifier


@pytest.fixture(scope="module")
def train() -> ImageSet:
    return data.load("fashion-mini", "train")


def parts(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    return images.take(range(384)), images.take(range(384, 484))


class Training:
    """A training of a few steps on 384 images, with copies of the best networks."""

    def __init__(self, images: ImageSet) -> None:
        fit, self.held_out = parts(images)
        self.finished: list[EpochFinished] = []
        self.best: list[BestModel] = []
        self.networks = []
        for item in fit_classifier(fit, self.held_out, epochs=3, seed=1):
            if isinstance(item, BestModel):
                self.best.append(item)
                self.networks.append(copy.deepcopy(item.network))
            elif isinstance(item, EpochFinished):
                self.finished.append(item)


@pytest.fixture(scope="module")
def training(train: ImageSet) -> Training:
    return Training(train)


def test_train_lowers_the_loss(training: Training) -> None:
    assert training.finished[-1].loss < 0.8 * training.finished[0].loss


def test_train_is_reproducible_without_using_the_global_generator(training: Training, train: ImageSet) -> None:
    before = torch.random.get_rng_state()
    best, finished, *_ = itertools.islice(fit_classifier(*parts(train), epochs=3, seed=1), 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert isinstance(best, BestModel) and isinstance(finished, EpochFinished)
    assert finished.loss == training.finished[0].loss
    for a, b in zip(best.network.parameters(), training.networks[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_train_yields_the_network_with_the_fewest_held_out_errors(training: Training) -> None:
    errors = [epoch.held_out for epoch in training.finished if epoch.held_out is not None]
    assert len(errors) == 3
    assert training.best[-1].value == pytest.approx(1 - min(errors))
    best = Classifier(training.networks[-1], sha256="")
    assert best.accuracy(training.held_out.images, training.held_out.labels) == training.best[-1].value
    assert [epoch.epoch for epoch in training.finished if epoch.best] == [model.epoch for model in training.best]


def test_augment_flips_and_shifts_images_with_black_border(train: ImageSet) -> None:
    images = to_model(train.images[:64])
    generator = torch.Generator().manual_seed(0)
    offsets = range(-SHIFT, SHIFT + 1)
    shifts = set()
    for _ in range(40):
        augmented = _augment(images, generator)
        fitting = [
            (down, right)
            for down in offsets
            for right in offsets
            if all(
                torch.equal(a, shifted(b, down, right)) or torch.equal(a, shifted(b.flip(2), down, right))
                for a, b in zip(augmented[:8], images[:8], strict=True)
            )
        ]
        assert fitting
        shifts.add(fitting[0])
    assert len(shifts) > 10
    flipped = sum(torch.equal(a, shifted(b.flip(2), *fitting[0])) for a, b in zip(augmented, images, strict=True))
    assert 16 < flipped < 48


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Return the image shifted, with black where it leaves a border."""
    canvas = torch.full((1, 28 + 2 * SHIFT, 28 + 2 * SHIFT), -1.0)
    canvas[:, SHIFT + down : SHIFT + down + 28, SHIFT + right : SHIFT + right + 28] = image
    return canvas[:, SHIFT:-SHIFT, SHIFT:-SHIFT]
