"""Train the classifier whose features measure samples, and write `core/assets/fashion-classifier.safetensors`.

    python -m scripts.train_classifier [FILE]

The script takes some 6 minutes on one core. It fits the classifier to the first 55,000 training images of FashionMNIST,
and stores the epoch with the best accuracy on the last 5,000. The 10,000 test images are used once, at the end, and
their accuracy is stored with the weights. One thread and a fixed seed make the weights reproducible on one machine.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.compute import checkpoint
from dipddpm.core.compute.rng import derive
from dipddpm.core.data import ImageSet, hold_out, load
from dipddpm.core.events import BestModel, EpochFinished, Item
from dipddpm.core.images import to_model
from dipddpm.core.metrics.samples.classifier import WEIGHTS_FILE, Classifier, FashionClassifier

SEED = 0
EPOCHS = 15
BATCH_SIZE = 128
LR = 0.1
"""Peak learning rate, reached after a fifth of the steps; it rises and falls along a cosine."""
WEIGHT_DECAY = 5e-4
SHIFT = 2
"""Largest shift of a batch in each direction, in pixels."""


def train(fit: ImageSet, validation: ImageSet, *, epochs: int = EPOCHS, seed: int = SEED) -> Iterator[Item]:
    """Minimise cross-entropy by SGD with Nesterov momentum 0.9, under random flips and shifts.

    Yields a `BestModel` after each epoch whose accuracy on `validation` is the highest so far, then `EpochFinished`,
    whose `held_out` is the share of errors there.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "network"))
        network = FashionClassifier().to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(derive(seed, "training"))
    steps_per_epoch = -(-len(fit) // BATCH_SIZE)
    optimizer = torch.optim.SGD(network.parameters(), LR, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LR, total_steps=epochs * steps_per_epoch, pct_start=0.2, cycle_momentum=False
    )
    best = 0.0
    for epoch in range(1, epochs + 1):
        started, total = time.perf_counter(), 0.0
        network.train()
        for indices in torch.split(torch.randperm(len(fit), generator=generator), BATCH_SIZE):
            images = _augment(to_model(fit.images[indices]), generator)
            loss = F.cross_entropy(network(images), fit.labels[indices])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item() * len(indices)
        accuracy = Classifier(network.eval(), sha256="").accuracy(validation.images, validation.labels)
        step = epoch * steps_per_epoch
        if improved := accuracy > best:
            best = accuracy
            yield BestModel(network=network, step=step, value=accuracy, measure="accuracy", epoch=epoch)
        yield EpochFinished(
            epoch=epoch,
            step=step,
            loss=total / len(fit),
            best=improved,
            held_out=1 - accuracy,
            lr=float(schedule.get_last_lr()[0]),
            seconds=time.perf_counter() - started,
        )


def _augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip each image at random, shift the batch by a few pixels, and fill the border with black (-1)."""
    flipped = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    images = torch.where(flipped, images.flip(3), images)
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=generator).tolist()
    return F.pad(images, (right, -right, down, -down), value=-1.0)


def main() -> None:
    """Train the classifier, measure its accuracy on the test images once, and write the weights."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train_classifier")
    parser.add_argument("file", type=Path, nargs="?", default=WEIGHTS_FILE, metavar="FILE")
    target = parser.parse_args().file
    torch.set_num_threads(1)
    fit, validation = hold_out(load("fashionmnist", "train"))
    best: BestModel | None = None
    for item in train(fit, validation):
        match item:
            case BestModel():
                best = BestModel(
                    network=copy.deepcopy(item.network), step=item.step, value=item.value, epoch=item.epoch
                )
            case EpochFinished():
                print(f"Epoch {item.epoch}: loss {item.loss:.4f}, {item.held_out:.2%} errors held out", flush=True)
    assert best is not None
    test = load("fashionmnist", "test")
    accuracy = Classifier(best.network, sha256="").accuracy(test.images, test.labels)
    about = {
        "data": {"fit": fit.sha256, "validation": validation.sha256, "test": test.sha256},
        "accuracy": {"validation": best.value, "test": accuracy},
        "seed": SEED,
        "epoch": best.epoch,
    }
    sha256 = checkpoint.save(target, about, best.network)
    print(f"Epoch {best.epoch}: {best.value:.2%} held out, {accuracy:.2%} on the test images.")
    print(f"{target.stat().st_size:,} bytes, sha256 {sha256}")


if __name__ == "__main__":
    main()
