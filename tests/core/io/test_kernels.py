"""Tests of kernel files: scaled to a sum of 1, and refused with the reason unless a kernel can be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dipddpm.core.errors import UserError
from dipddpm.core.io.kernels import MAX_SIDE, read_kernel

VALUES = np.arange(15).reshape(3, 5)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", ">f8"])
def test_read_kernel_divides_array_by_its_sum(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "k.npy", VALUES.astype(dtype))
    np.testing.assert_allclose(read_kernel(str(tmp_path / "k.npy")), VALUES / 105, rtol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_read_kernel_divides_grey_image_by_its_sum(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(VALUES.astype(np.uint16 if mode == "I;16" else np.uint8))
    (image if mode == "I;16" else image.convert(mode)).save(tmp_path / "k.png")
    np.testing.assert_allclose(read_kernel(str(tmp_path / "k.png")), VALUES / 105, rtol=1e-4)


def test_read_kernel_scales_huge_values(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.full((3, 3), 1e308))
    np.testing.assert_allclose(read_kernel(str(tmp_path / "k.npy")), np.full((3, 3), 1 / 9))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones((4, 5)), "5x4 pixels, so no pixel is in its middle"),
        (np.ones(5), "1 axes"),
        (np.ones((1, MAX_SIDE + 2)), f"{MAX_SIDE} a side is the limit"),
        (np.array([[1.0, -0.1, 1.0]]), "negative or not finite"),
        (np.array([[1.0, np.nan, 1.0]]), "negative or not finite"),
        (np.zeros((3, 3)), "Every value of the kernel"),
        (np.ones((3, 3), complex), "complex128"),
        (np.array([[None]]), "not a readable .npy file"),
    ],
)
def test_read_kernel_refuses_other_arrays(tmp_path: Path, values: Any, words: str) -> None:
    np.save(tmp_path / "k.npy", values, allow_pickle=True)
    with pytest.raises(UserError, match=words):
        read_kernel(str(tmp_path / "k.npy"))


def test_read_kernel_refuses_other_files(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("1 2 3")
    Image.new("RGB", (3, 3), (9, 99, 0)).save(tmp_path / "colour.png")
    for name, words in {
        "text.npy": "not a readable .npy file",
        "colour.png": "is in colour",
        "none.npy": "There is no kernel file",
        "none.png": "none.png",
    }.items():
        with pytest.raises(UserError, match=words):
            read_kernel(str(tmp_path / name))
    with pytest.raises(UserError, match="has no kernel file"):
        read_kernel("")
