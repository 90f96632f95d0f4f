"""The project's own FashionMNIST classifier, whose features measure sample quality.

Its weights, trained by `scripts.train_classifier`, ship with the program, so that results from all machines compare.
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
from dipddpm.core.config.shapes import refuse_for_evaluation
from dipddpm.core.data import ImageSet, cache_folder
from dipddpm.core.errors import UserError
from dipddpm.core.images import to_bytes, to_model

WEIGHTS_FILE = Path(__file__).parents[2] / "assets" / "fashion-classifier.safetensors"
SHAPE = (1, 28, 28)
FEATURES = 64
"""Number of features of an image; so few that some hundred samples determine their covariance."""
CLASSES = 10
CHUNK = 500
"""Images that go through the network at once; constant, since the rounding of results depends on it."""


class FashionClassifier(nn.Module):
    """A network that maps 28x28 grey images in model space, (N, 1, 28, 28), to logits (N, 10).

    Six 3x3 convolutions with batch norm at 28, 14, 14, 7, 7 and 7 pixels, the mean over all pixels and a linear layer;
    107,322 parameters.
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
        """Return the non-negative inputs of the last layer, (N, 64)."""
        return cast(Tensor, self.body(images))

    def forward(self, images: Tensor) -> Tensor:
        """Return a logit for each class, (N, 10)."""
        return cast(Tensor, self.head(self.features(images)))


@dataclass(frozen=True, eq=False)
class Classifier:
    """The trained network and the digest of its weights, which is stored with every result.

    Takes public images: uint8, or float in [0, 1], (N, 1, 28, 28), on any device. Floats are clipped and rounded to 8
    bits first like real images, since a network could distinguish the two by their precision. Always computes on the
    CPU in float32, since a GPU's lower precision would change the distances.

    Every method raises UserError for images that aren't 28x28 and grey, and for values that aren't finite.
    """

    network: FashionClassifier
    sha256: str

    def features(self, images: Tensor) -> Tensor:
        """Return the inputs of the last layer, float32 (N, 64), on the CPU."""
        return self._apply(self.network.features, images)

    def predict(self, images: Tensor) -> Tensor:
        """Return the most likely class of each image, int64 (N,), on the CPU."""
        return self._apply(self.network, images).argmax(1)

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Return the share of images, from 0 to 1, whose predicted class equals their label."""
        return float((self.predict(images) == labels.cpu()).double().mean())

    @torch.no_grad()
    def _apply(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        return torch.cat([function(to_model(part)) for part in torch.split(as_bytes(images), CHUNK)])


@functools.cache
def load_classifier() -> Classifier:
    """Load the classifier that ships with the program."""
    network = checkpoint.load(WEIGHTS_FILE)
    assert isinstance(network, FashionClassifier)
    return Classifier(network.to(memory_format=torch.channels_last), checkpoint.digest(WEIGHTS_FILE))


def features_of(images: ImageSet, classifier: Classifier | None = None) -> Tensor:
    """Return the features (N, 64) of a data set by `classifier` (default: the one that ships), cached in a file.

    A cache file is used only if its images and weights have the same digests. A damaged file is replaced, and a cache
    that can't be written is ignored. Raises UserError for images that aren't 28x28 and grey.
    """
    classifier = classifier or load_classifier()
    key = {"images": images.sha256, "weights": classifier.sha256}
    path = cache_folder() / "features" / f"{images.sha256[:16]}-{classifier.sha256[:16]}.safetensors"
    with contextlib.suppress(UserError):  # no file, or a damaged one
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
    """Return 28x28 grey images in [0, 1] as uint8, on the CPU; raise UserError for any others."""
    refuse_for_evaluation(tuple(images.shape[1:]))
    if images.dtype == torch.uint8:
        return images.cpu()
    if not images.isfinite().all():
        raise UserError("Some of the images have NaN or infinity.", "Lower ddpm.beta_end, or sample with --clip.")
    return to_bytes(images.detach().cpu())


def _conv_norm_act(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
