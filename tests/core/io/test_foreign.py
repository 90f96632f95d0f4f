"""Files that aren't read as pictures are named, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from dipddpm.core.errors import UserError
from dipddpm.core.io.pictures import decode


@pytest.mark.parametrize(
    ("marker", "bits", "words"), [(0xC1, 12, "of 12 bits"), (0xC3, 8, "lossless"), (0xF7, 8, "LS")]
)
def test_decode_names_rare_kinds_of_jpeg(tmp_path: Path, marker: int, bits: int, words: str) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg")
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    start = content.index(b"\xff\xc0")
    content[start + 1], content[start + 4] = marker, bits
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.jpg is a .*{words}.*Convert it to PNG first"):
        decode(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC file"),
        ("a.png", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "an AVIF file"),
        ("a.jpg", b"\0\0\0\x18ftypmif1\0\0\0\0avifmif1", "an AVIF file"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 file"),
        ("a.j2k", b"\xff\x4f\xff\x51\0", "a JPEG 2000 file"),
        ("a.jxl", b"\xff\x0a\0\0", "a JPEG XL file"),
        ("a.NEF", b"II*\0\x08\0\0\0", "a camera's raw file"),
        ("a.tif", b"II*\0\x10\0\0\0CR\x02\0", "a camera's raw file"),
        ("a.svg", b"<?xml version='1.0'?>\n<svg width='3'/>", "an SVG drawing"),
        ("a.pdf", b"%PDF-1.7\n", "a PDF file"),
        ("a.psd", b"8BPS\0\1", "a Photoshop file"),
        ("a.jpg", b"\n<!DOCTYPE html><html>", "a web page"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        ("a.pfm", b"PF\n2 2\n-1.0\n", "a PFM file in colour"),
        ("a.qoi", b"qoif\0\0", "a QOI file"),
        ("a.dcm", bytes(128) + b"DICM", "a DICOM file"),
        ("a.npy", b"\x93NUMPY\1\0", "a NumPy file"),
        ("a.png", b"", "an empty file"),
    ],
)
def test_decode_refuses_other_formats_by_name(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is {words}"):
        decode(tmp_path / name)


def test_decode_refuses_raw_file_of_camera(tmp_path: Path) -> None:
    version = (50706, 1, 4, b"\1\4\0\0", False)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb", extratags=[version])
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(np.zeros((8, 8, 3), np.uint8), photometric="rgb", subfiletype=1, subifds=1)
        pattern = [(33421, 3, 2, (2, 2), False), (33422, 1, 4, b"\0\1\1\2", False)]
        file.write(np.zeros((16, 16), np.uint16), photometric=32803, extratags=pattern)
    for name in ("a.tif", "b.tif"):
        with pytest.raises(UserError, match=f"{name} is a camera's raw file"):
            decode(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("https://example.org/a.png", "is an address"),
        ("file:///tmp/a.png", "file:///tmp/a.png is an address"),
        ("-", "can't be read from a pipe"),
        ("*.png", "Patterns aren't expanded"),
        (".", "is a folder, not an image file"),
        ("a.png/b.png", "no image file"),
    ],
)
def test_decode_explains_path_that_is_not_a_file(tmp_path: Path, name: str, words: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").touch()
    with pytest.raises(UserError, match=words):
        decode(Path(name))
