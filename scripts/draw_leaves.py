"""Draw grey dead leaves as a folder of images, to train a prior that has seen no photograph and no data set.

    python -m scripts.draw_leaves FOLDER
    dipddpm run ddpm --preset cpu --dataset folder:FOLDER

Squares of 28, 56 or 112 pixels are cut out of drawn pictures (`core.data.leaves`), several out of each, averaged down
to 28x28 pixels, and stored as PNG.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from dipddpm.core.compute.rng import derive
from dipddpm.core.data import leaves

SIDE = 28
FACTORS = (1, 2, 4)
"""The factors by which squares are averaged down: small squares have soft edges, large ones many sharp ones."""
FROM_EACH = 30
"""The number of squares that are cut out of a picture, a third of them by each factor."""


def draw(folder: Path, first: int, count: int) -> None:
    """Store the patches `first` to `first + count - 1`; a patch doesn't depend on how many are drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in range(first // FROM_EACH, -(-(first + count) // FROM_EACH)):
        rng = np.random.default_rng(derive(picture, "grey dead leaves"))
        drawn = [leaves.dead_leaves(rng)]
        cut = [leaves.patches(rng, drawn, FROM_EACH // len(FACTORS), SIDE * factor).mean(1) for factor in FACTORS]
        squares = [
            square.reshape(SIDE, f, SIDE, f).mean((1, 3))
            for f, each in zip(FACTORS, cut, strict=True)
            for square in each
        ]
        for index, patch in enumerate(squares, picture * FROM_EACH):
            if first <= index < first + count:
                Image.fromarray((255 * patch).round().astype(np.uint8)).save(folder / f"{index:06d}.png")


def main() -> None:
    """Draw patches."""
    parser = argparse.ArgumentParser(prog="python -m scripts.draw_leaves")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=60_000)
    options = parser.parse_args()
    draw(options.folder, options.first, options.count)


if __name__ == "__main__":
    main()
