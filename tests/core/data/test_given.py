"""Tests of given pictures as tensors: names, truth, hashes, folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from dipddpm.core.config import ImagesConfig
from dipddpm.core.data.given import expand_given, load_given
from dipddpm.core.errors import UserError

RNG = np.random.default_rng(3)


def saved(path: Path, *shape: int) -> str:
    Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(path)
    return str(path)


def test_pictures_and_pages_have_names_and_values(tmp_path: Path) -> None:
    stack = RNG.integers(0, 65536, (11, 6, 7)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "cells.tif", stack, photometric="minisblack")
    (tmp_path / "b").mkdir()
    files = (
        saved(tmp_path / "a photo.png", 5, 4, 3), str(tmp_path / "cells.tif"),
        saved(tmp_path / "b" / "a photo.png", 8, 9),
    )  # fmt: skip
    loaded = load_given(ImagesConfig(given=files))
    assert loaded.names == ["a_photo", *(f"cells-page-{page:02}" for page in range(1, 12)), "a_photo-2"]
    assert [tuple(image.shape) for image in loaded.images] == [(3, 5, 4), *[(1, 6, 7)] * 11, (1, 8, 9)]
    for page, image in zip(stack, loaded.images[1:12], strict=True):
        torch.testing.assert_close(image[0], torch.from_numpy(page / 65535).float())
    assert loaded.truth == [] and list(loaded.loaded.files) == list(files) and loaded.loaded.images == 13


def test_hash_changes_with_pixels_of_any_page_and_of_truth(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", stack := RNG.integers(0, 256, (3, 6, 7)).astype(np.uint8), photometric="minisblack"
    )
    images = ImagesConfig(given=(str(tmp_path / "a.tif"),), truth=(str(tmp_path / "t.npy"),))
    np.save(tmp_path / "t.npy", stack)
    hashes = [load_given(images).loaded.sha256]
    stack[2, 1, 1] ^= 255
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    hashes.append(load_given(images).loaded.sha256)
    np.save(tmp_path / "t.npy", stack)
    hashes.append(load_given(images).loaded.sha256)
    assert len(set(hashes)) == 3


def test_truth_gets_channels_of_given_picture(tmp_path: Path) -> None:
    given, truth = saved(tmp_path / "g.png", 6, 8, 3), saved(tmp_path / "t.png", 12, 16)
    loaded = load_given(ImagesConfig(given=(given,), truth=(truth,)), factor=2)
    expected = torch.from_numpy(np.asarray(Image.open(truth)) / 255).float()
    torch.testing.assert_close(loaded.truth[0], expected.expand(3, -1, -1))


@pytest.mark.parametrize(
    ("shape", "factor", "words"),
    [
        ((5, 4, 3), 1, "4x6 pixels and its truth .*t.png has 4x5"),
        ((6, 4), 2, "which makes 8x12, and its truth .*t.png has 4x6"),
        ((6, 4, 3), 1, "is grey, and its truth .* has colours"),
    ],
)
def test_truth_that_does_not_fit_is_refused(tmp_path: Path, shape: tuple[int, ...], factor: int, words: str) -> None:
    images = ImagesConfig(given=(saved(tmp_path / "g.png", 6, 4),), truth=(saved(tmp_path / "t.png", *shape),))
    with pytest.raises(UserError, match=words):
        load_given(images, factor)
    with pytest.raises(UserError, match=r"2 given file\(s\), and 1 with their truth"):
        load_given(ImagesConfig(given=images.given * 2, truth=images.truth))


def test_folder_becomes_its_pictures_in_natural_order(tmp_path: Path) -> None:
    for name in ("img10.png", "img2.PNG", "Img1.jpg", ".hidden.png", "notes.txt", "stack.npy", "Thumbs.db"):
        (tmp_path / name).touch()
    (tmp_path / "below.png").mkdir()
    (tmp_path / "below.png" / "no.png").touch()
    expected = [str(tmp_path / name) for name in ("Img1.jpg", "img2.PNG", "img10.png", "stack.npy")]
    assert expand_given(["other.png", str(tmp_path)]) == ("other.png", *expected)


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="no picture in the folder"):
        expand_given([str(tmp_path)])
