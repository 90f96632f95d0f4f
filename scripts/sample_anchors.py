"""Print the Frechet and kernel distances of images of known quality, as a scale for the distances of samples.

    python -m scripts.sample_anchors

The script takes about a minute. It compares sets of 5,000 images with the test images of FashionMNIST: real images,
whose distance is the smallest that samples can reach; the same images with noise; one class alone; digits; and noise
alone. It also prints the classifier's accuracy and the share of suspected copies of the 55,000 training images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.data import ImageSet, hold_out, load
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.samples.classifier import SHAPE, load_classifier
from dipddpm.core.metrics.samples.evaluate import evaluate
from dipddpm.core.metrics.samples.nearest import nearest_in_features, nearest_in_pixels, suspected_copies

SAMPLES = 5_000
SEED = 0
NOISE = (10, 25, 50)
"""Standard deviations of the noise, in 8-bit grey levels."""
CLASS = 7
COMPARED = 1_000
"""Number of images of each set for which the nearest training image is searched."""


def anchors(
    fit: ImageSet, validation: ImageSet, generator: torch.Generator
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yield each set's name, its images, uint8 or float in [0, 1], and its labels, or None if it has none."""
    indices = torch.randperm(len(fit), generator=generator)[:SAMPLES]
    images, labels = fit.images[indices], fit.labels[indices]
    yield "fitted on", images, labels
    yield "held out", validation.images, validation.labels
    for sigma in NOISE:
        noise = torch.randn(images.shape, generator=generator) * sigma / 255
        yield f"fitted on, sigma {sigma}", to_unit(images) + noise, labels
    same_class = (fit.labels == CLASS).nonzero().squeeze(1)[:SAMPLES]
    yield f"{fit.classes[CLASS]} alone", fit.images[same_class], fit.labels[same_class]
    yield "digits", digits(SAMPLES, generator), None
    yield "uniform noise", torch.rand(images.shape, generator=generator), None


def digits(count: int, generator: torch.Generator) -> Tensor:
    """Draw white digits on black, of random sizes at random positions, like MNIST: uint8 (count, 1, 28, 28)."""
    _, height, width = SHAPE
    fonts = [ImageFont.load_default(size) for size in range(18, 31)]
    bounds = ((0, 10), (0, len(fonts)), (10, 19), (10, 19))
    draws = [torch.randint(low, high, (count,), generator=generator).tolist() for low, high in bounds]
    images = []
    for digit, font, x, y in zip(*draws, strict=True):
        image = Image.new("L", (width, height))
        ImageDraw.Draw(image).text((x, y), str(digit), fill=255, font=fonts[font], anchor="mm")
        images.append(np.asarray(image))
    return torch.from_numpy(np.stack(images)).unsqueeze(1)


def main() -> None:
    """Print a line for each set."""
    argparse.ArgumentParser(prog="python -m scripts.sample_anchors").parse_args()
    fit, validation = hold_out(load("fashionmnist", "train"))
    test = load("fashionmnist", "test")
    test_pairs = [find(test.images[:COMPARED], fit) for find in (nearest_in_pixels, nearest_in_features)]
    generator = torch.Generator().manual_seed(derive(SEED, "anchors"))
    protocols: tuple[str, ...] = ()
    print(f"{'':24} {'Frechet':>9} {'kernel':>10} {'accuracy':>9}   copies in pixels, in features")
    for name, images, labels in anchors(fit, validation, generator):
        frechet, kernel = evaluate(images, test, seed=SEED)
        accuracy = "-" if labels is None else f"{load_classifier().accuracy(images, labels):.2%}"
        pixels = suspected_copies(nearest_in_pixels(images[:COMPARED], fit), test_pairs[0])
        features = suspected_copies(nearest_in_features(images[:COMPARED], fit), test_pairs[1])
        print(f"{name:24} {frechet.value:9.4f} {kernel.value:10.5f} {accuracy:>9}   {pixels:.1%}, {features:.1%}")
        protocols = (frechet.protocol, kernel.protocol)
    print(*protocols, sep="\n")


if __name__ == "__main__":
    main()
