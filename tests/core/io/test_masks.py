"""Masks: read by what they mean, and refused with their values where they can't mean anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dipddpm.core.errors import UserError
from dipddpm.core.io.masks import read_mask

SIZE = (24, 40)
KNOWN = np.ones(SIZE, bool)
KNOWN[8:16, 10:30] = False


def saved(path: Path, values: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (0, 100), (254, 255), (3, 4)])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_read_mask_takes_darker_of_two_levels_as_missing(tmp_path: Path, low: int, high: int, mode: str) -> None:
    values = np.where(KNOWN, high, low).astype(np.uint8)
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "m.png", values, mode), SIZE), KNOWN)


def test_read_mask_reads_file_of_same_size_and_time_again(tmp_path: Path) -> None:
    path, other = (
        saved(tmp_path / "m.bmp", KNOWN.astype(np.uint8)),
        saved(tmp_path / "other.bmp", KNOWN[::-1].astype(np.uint8)),
    )
    time = path.stat().st_mtime_ns
    assert other.stat().st_size == path.stat().st_size
    assert not read_mask(path)[8, 10]
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(time, time))
    np.testing.assert_array_equal(read_mask(path), KNOWN[::-1])
    saved(other, KNOWN[:, ::-1].astype(np.uint8))
    os.utime(other, ns=(time, time))
    other.replace(path)
    np.testing.assert_array_equal(read_mask(path), KNOWN[:, ::-1])


@pytest.mark.parametrize("dtype", [bool, np.uint16])
def test_read_mask_takes_other_types(tmp_path: Path, dtype: Any) -> None:
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "m.png", KNOWN.astype(dtype)), SIZE), KNOWN)


def test_read_mask_takes_label_palette_and_jpeg(tmp_path: Path) -> None:
    labels = Image.fromarray(KNOWN.astype(np.uint8), "P")
    labels.putpalette([0, 0, 0, 128, 0, 0])
    labels.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "labels.png", SIZE), KNOWN)
    path = saved(tmp_path / "m.jpg", KNOWN.astype(np.uint8) * 255, quality=70)
    np.testing.assert_array_equal(read_mask(path, SIZE), KNOWN)


def test_read_mask_takes_holes_and_drawings_on_transparent_layer(tmp_path: Path) -> None:
    alpha = np.where(KNOWN, 255, 0).astype(np.uint8)
    photo = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    for colour in (photo, np.full_like(photo, 255)):
        path = saved(tmp_path / "holes.png", np.dstack([colour, alpha]))
        np.testing.assert_array_equal(read_mask(path, SIZE), KNOWN)
    path = saved(tmp_path / "drawn.png", np.dstack([photo * 0, 255 - alpha]))
    np.testing.assert_array_equal(read_mask(path, SIZE), KNOWN)
    half = np.where(np.arange(40) < 5, 0, 255)[None].repeat(24, 0).astype(np.uint8)
    path = saved(tmp_path / "unclear.png", np.dstack([half, half, half, alpha]))
    with pytest.raises(UserError, match="black, white and transparent pixels"):
        read_mask(path, SIZE)
    with pytest.raises(UserError, match="all of it is transparent"):
        read_mask(saved(tmp_path / "clear.png", np.dstack([photo, alpha * 0])), SIZE)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0], "leaves no pixel: every value is 0 of 255"),
        ([1], "leaves no pixel: every value is 1 of 255"),
        ([255], "misses no pixel: every value is 255 of 255"),
        ([0, 1, 2], "leaves no pixel: values are 0 to 2 of 255"),
        ([130, 200, 255], "misses no pixel: values are 130 to 255 of 255"),
    ],
)
def test_read_mask_refuses_all_or_nothing_with_its_values(tmp_path: Path, values: list[int], words: str) -> None:
    pixels = np.resize(np.array(values, np.uint8), SIZE)
    with pytest.raises(UserError, match=words):
        read_mask(saved(tmp_path / "m.png", pixels), SIZE)


@pytest.mark.parametrize("dtype", ["u2", "u4", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("high", [1, 255])
def test_read_mask_takes_largest_value_of_deep_file_as_white(tmp_path: Path, dtype: str, high: int) -> None:
    soft = KNOWN * high
    soft[0, :2] = high * 3 // 4  # of more than two levels
    tifffile.imwrite(tmp_path / "m.tif", soft.astype(dtype))
    expected = KNOWN.copy()
    expected[0, :2] = high > 1
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif", SIZE), expected)


def test_read_mask_refuses_picture_and_takes_soft_edges(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    photo[~KNOWN] = 255, 0, 0
    with pytest.raises(UserError, match=r"looks like a picture, not a mask.*black \(0\)"):
        read_mask(saved(tmp_path / "photo.png", photo), SIZE)
    soft = np.where(KNOWN, 255, 0).astype(np.uint8)
    soft[7], soft[16] = 100, 200
    expected = KNOWN.copy()
    expected[7] = False
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "soft.png", soft), SIZE), expected)


def test_read_mask_is_turned_upright_and_names_other_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "m.png", np.rot90(KNOWN).astype(np.uint8), exif=exif)
    np.testing.assert_array_equal(read_mask(path, SIZE), KNOWN)
    turned = saved(tmp_path / "turned.png", np.rot90(KNOWN).astype(np.uint8))
    with pytest.raises(UserError, match="Turn the mask as the image is seen"):
        read_mask(turned, SIZE)
    with pytest.raises(UserError, match="has 40x24 pixels and the image 40x23"):
        read_mask(path, (23, 40))
    with pytest.raises(UserError, match="There is no image file"):
        read_mask(tmp_path / "none.png", SIZE)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "not finite"), (np.inf, "not finite"), (-1, "outside")])
def test_read_mask_names_values_of_a_mask_for_floats_that_it_refuses(tmp_path: Path, value: float, words: str) -> None:
    values = np.ones((6, 7), np.float32)
    values[2, 3] = value
    tifffile.imwrite(tmp_path / "mask.tif", values)
    with pytest.raises(UserError, match=words) as raised:
        read_mask(tmp_path / "mask.tif")
    assert raised.value.remedy == "Make missing pixels black (0) and known ones white (255)."


def test_read_mask_refuses_labels_with_unknown_pixels(tmp_path: Path) -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[5:15, 5:30], labels[:, :2] = 1, 255
    with pytest.raises(UserError, match="holds labels, not a mask: the values 0 to 1 and 255"):
        read_mask(saved(tmp_path / "m.png", labels), SIZE)
    labels[5:15, 5:30], labels[20, 20] = 255, 1  # one pixel of a wrong level
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "m.png", labels), SIZE), labels == 255)
