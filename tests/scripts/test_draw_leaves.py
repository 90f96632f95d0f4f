"""Drawn dead leaves as a data set: the same images in any order, sharp and soft ones, no two alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from scripts import draw_leaves


def read(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def test_an_image_depends_on_its_number_alone(tmp_path: Path) -> None:
    draw_leaves.draw(tmp_path / "all", 0, 60)
    draw_leaves.draw(tmp_path / "some", 25, 20)
    whole, part = read(tmp_path / "all"), read(tmp_path / "some")
    assert list(whole) == [f"{index:06d}.png" for index in range(60)]
    assert list(part) == [f"{index:06d}.png" for index in range(25, 45)]
    assert all(np.array_equal(image, whole[name]) for name, image in part.items())
    assert all(image.shape == (28, 28) and image.dtype == np.uint8 for image in whole.values())
    assert len({image.tobytes() for image in whole.values()}) > 55


def test_squares_that_are_averaged_down_have_more_edges(tmp_path: Path) -> None:
    """In each picture, the first third is cut as it is, and the last is averaged down by four."""
    draw_leaves.draw(tmp_path, 0, 20 * draw_leaves.FROM_EACH)
    images = np.stack([*read(tmp_path).values()]).astype(float).reshape(20, 3, -1, 28, 28)
    steps = np.abs(np.diff(images, axis=-1)).mean((0, 2, 3, 4))
    assert steps[0] < steps[1] < steps[2]
