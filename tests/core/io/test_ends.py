"""The cheap check whether picture files are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dipddpm.core.errors import UserError
from dipddpm.core.io.ends import seems_whole
from dipddpm.core.io.pictures import decode

PIXELS = np.random.default_rng(3).integers(0, 256, (23, 29, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16"])
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("jpg", {}),
        ("jpg", {"progressive": True}),
        ("tif", {"compression": "raw"}),
        ("tif", {"compression": "tiff_deflate"}),
        ("bmp", {}),
        ("gif", {}),
        ("webp", {}),
        ("ppm", {}),
    ],
)
def test_whole_pictures_seem_whole_and_cut_ones_do_not(
    tmp_path: Path, suffix: str, options: dict[str, Any], mode: str
) -> None:
    if (mode == "I;16" and suffix not in {"png", "tif", "ppm"}) or (mode == "1" and suffix == "tif"):
        return
    grey = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    path = tmp_path / f"a.{suffix}"
    (grey if mode == "I;16" else Image.fromarray(PIXELS).convert(mode)).save(path, **options)
    assert seems_whole(path)
    content = path.read_bytes()
    path.write_bytes(content + bytes(9))
    assert seems_whole(path)
    unreadable, directory = 0, 300 * (suffix == "tif")  # a TIFF has its directory at the start or at the end
    for length in range(directory, len(content) - directory, 97):
        path.write_bytes(content[:length])
        try:
            decode(path)
        except UserError:
            unreadable += 1
            assert not seems_whole(path)
    assert unreadable


def test_files_that_are_no_pictures_do_not_seem_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    assert not seems_whole(tmp_path / "a.png")
    assert not seems_whole(tmp_path / "missing.png")
    assert not seems_whole(tmp_path)
