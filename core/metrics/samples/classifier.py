"""The project's own classifier of FashionMNIST, whose features sample quality is measured on.

Its weights, made by `scripts.train_classifier`, ship with the program, so that the numbers mean the same everywhere.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from dipddpm.core.compute import checkpoint
from dipddpm.core.data import ImageSet, cache_folder
from dipddpm.core.errors import UserError
from dipddpm.core.images import to_bytes, to_model

WEIGHTS_FILE = Path(__file__).parents[2] / "assets" / "fashion-classifier.safetensors"
SHAPE = (1, 28, 28)
FEATURES = 64
"""How many numbers describe an image: few, so that some hundred samples already determine their covariance."""
CLASSES = 10
CHUNK = 500
"""Images that go through the network at once. Fixed, so that the last bit of a number doesn't hang on it."""


class FashionClassifier(nn.Module):
    """Logits (N, 10) of 28x28 grey images in model space, (N, 1, 28, 28); 107,322 parameters.

    Six 3x3 convolutions with batch norm at 28, 14, 14, 7, 7 and 7 pixels, the mean over all places, a linear layer.
    """

    name: ClassVar[str] = "fashion-classifier"

    def __init__(self) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {}
        self.body = nn.Sequential(
            _conv_norm_act(1, 16),
            nn.MaxPool2d(2),
            _conv_norm_act(16, 32),
            _conv_norm_act(32, 32),
            nn.MaxPool2d(2),
            _conv_norm_act(32, 64),
            _conv_norm_act(64, 64),
            _conv_norm_act(64, FEATURES),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(FEATURES, CLASSES)

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees, (N, 64): non-negative."""
        return cast(Tensor, self.body(images))

    def forward(self, images: Tensor) -> Tensor:
        """One logit a class."""
        return cast(Tensor, self.head(self.features(images)))


@dataclass(frozen=True, eq=False)
class Classifier:
    """The trained network, and the digest of its weights, which belongs to every number made with it.

    Takes images as they are anywhere in the project: uint8, or float in [0, 1], shape (N, 1, 28, 28), on any device.
    Floats are clipped and rounded to 8 bits first, since that is what real images are held in and a network could
    tell them apart by it. Always computes on the CPU in float32: a GPU's shortcuts would show in the distances.

    Every method raises UserError for images that aren't 28x28 and grey, and for values that aren't finite.
    """

    network: FashionClassifier
    sha256: str

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees: float32 (N, 64), on the CPU."""
        return self._apply(self.network.features, images)

    def predict(self, images: Tensor) -> Tensor:
        """The likeliest class of each image: int64 (N,), on the CPU."""
        return self._apply(self.network, images).argmax(1)

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """The share, from 0 to 1, of images that are told to be what their labels say."""
        return float((self.predict(images) == labels.cpu()).double().mean())

    @torch.no_grad()
    def _apply(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        return torch.cat([function(to_model(part)) for part in torch.split(as_bytes(images), CHUNK)])


@functools.cache
def load_classifier() -> Classifier:
    """The classifier that ships with the program."""
    network = checkpoint.load(WEIGHTS_FILE)
    assert isinstance(network, FashionClassifier)
    return Classifier(network.to(memory_format=torch.channels_last), checkpoint.digest(WEIGHTS_FILE))


def features_of(images: ImageSet, classifier: Classifier | None = None) -> Tensor:
    """The features (N, 64) of a data set by the classifier that ships, or by `classifier`, from the cache folder.

    What is in the cache counts only for the very same images and weights; a damaged file is made anew, and where the
    cache can't be written, nothing is kept. Raises UserError for images that aren't 28x28 and grey.
    """
    classifier = classifier or load_classifier()
    key = {"images": images.sha256, "weights": classifier.sha256}
    path = cache_folder() / "features" / f"{images.sha256[:16]}-{classifier.sha256[:16]}.safetensors"
    with contextlib.suppress(UserError):  # not there, or damaged
        state = checkpoint.load_state(path)
        cached = state.pop("features", None)
        if isinstance(cached, Tensor) and state == key:
            return cached
    features = classifier.features(images.images)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(path, {**key, "features": features})
    return features


def as_bytes(images: Tensor) -> Tensor:
    """28x28 grey images in [0, 1] as uint8, on the CPU; raises UserError for any others."""
    if images.ndim != 4 or tuple(images.shape[1:]) != SHAPE:
        shape = "x".join(map(str, images.shape[1:]))
        problem = f"Sample quality is measured on 28x28 grey images (1x28x28), not on {shape} ones."
        raise UserError(problem, "Use fashionmnist or fashion-mini.")
    if images.dtype == torch.uint8:
        return images.cpu()
    if not images.isfinite().all():
        raise UserError("Some of the images hold NaN or infinity.", "Take an earlier checkpoint, or fewer steps.")
    return to_bytes(images.detach().cpu())


def _conv_norm_act(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
