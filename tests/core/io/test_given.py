"""Given pictures: what is read from files of many kinds, and which files are refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, TiffImagePlugin

from dipddpm.core.errors import UserError
from dipddpm.core.io import stored
from dipddpm.core.io.exif import upright_xmp
from dipddpm.core.io.given import read_given
from dipddpm.core.io.written import write_like
from tests.core.io.profiles import DISPLAY_P3, profile, to_srgb

RNG = np.random.default_rng(11)
COLOUR = RNG.integers(0, 256, (10, 14, 3)).astype(np.uint8)
GREY = RNG.integers(0, 256, (10, 14)).astype(np.uint8)


def saved(path: Path, values: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def test_colours_stay_those_of_the_profile(tmp_path: Path) -> None:
    p3 = profile(DISPLAY_P3, None)
    (picture,) = read_given(saved(tmp_path / "a.png", COLOUR, icc_profile=p3))
    np.testing.assert_array_equal(picture.pixels, COLOUR.astype(np.float32) / np.float32(255))
    assert picture.source.profile == p3
    (grey,) = read_given(tmp_path / "a.png", grey=True)
    expected = to_srgb(COLOUR / 255, DISPLAY_P3, None) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey.pixels[..., 0], expected, atol=1 / 255)
    assert grey.source.profile == b"" and grey.source.channels == 1


@pytest.mark.parametrize(("mode", "name", "suffix"), [("CMYK", "CMYK", "jpg"), ("LAB", "CIELab", "tif")])
def test_colours_of_printers_are_converted_with_a_note(tmp_path: Path, mode: str, name: str, suffix: str) -> None:
    (picture,) = read_given(saved(tmp_path / f"a.{suffix}", COLOUR, mode))
    assert f"is stored as {name}" in picture.notes[0] and picture.pixels.shape == (10, 14, 3)


def test_palette_becomes_rgb_and_its_transparent_colour_the_opacity(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).quantize(20)
    image.save(tmp_path / "a.png", transparency=7)
    (picture,) = read_given(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB"), np.float32) / np.float32(255))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.asarray(image) != 7)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_first_frame_of_animation_is_read_with_a_note(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(np.roll(GREY, shift)) for shift in range(3)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    (picture,) = read_given(tmp_path / f"a.{suffix}")
    assert any("animation of 3 frames" in note for note in picture.notes)
    np.testing.assert_array_equal(np.round(picture.pixels[..., 0] * 255), GREY)


def test_grey_stored_as_rgb_is_grey_unless_a_page_has_colours(tmp_path: Path) -> None:
    grey = np.repeat(GREY[..., None], 3, -1)
    (picture,) = read_given(saved(tmp_path / "a.png", grey))
    assert picture.pixels.shape == (10, 14, 1) and "grey stored as RGB" in picture.notes[0]
    np.save(tmp_path / "a.npy", np.stack([grey, COLOUR]))
    assert [each.pixels.shape for each in read_given(tmp_path / "a.npy")] == [(10, 14, 3)] * 2


@pytest.mark.parametrize(("quality", "warned"), [(40, True), (75, True), (95, False)])
def test_jpeg_of_low_quality_has_a_warning(tmp_path: Path, quality: int, warned: bool) -> None:
    (picture,) = read_given(saved(tmp_path / "a.jpg", COLOUR, quality=quality))
    assert [f"quality of about {quality}" in warning for warning in picture.warnings] == [True] * warned


@pytest.mark.parametrize("white", [255, 300, 4095, 65535])
def test_every_bit_of_a_ppm_in_colour_is_read(tmp_path: Path, white: int) -> None:
    values = RNG.integers(0, white + 1, (9, 14, 3))
    dtype = "u1" if white == 255 else ">u2"
    (tmp_path / "a.ppm").write_bytes(b"P6\n14 9\n%d\n" % white + values.astype(dtype).tobytes())
    np.testing.assert_allclose(read_given(tmp_path / "a.ppm")[0].pixels, values / white, atol=1e-6)
    (tmp_path / "a.ppm").write_bytes((tmp_path / "a.ppm").read_bytes()[:-5])
    with pytest.raises(UserError, match="damaged or cut short"):
        read_given(tmp_path / "a.ppm")


def test_dark_sixteen_bits_have_a_warning_and_white_scales_them(tmp_path: Path) -> None:
    stack = RNG.integers(0, 4096, (2, 5, 6)).astype(np.uint16)
    stack[:, 0, 0] = 4095
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    first, second = read_given(tmp_path / "a.tif")
    assert len(first.warnings) == 1 and "images.white=4095" in first.warnings[0] and second.warnings == ()
    np.testing.assert_allclose(read_given(tmp_path / "a.tif", white=4095)[1].pixels[..., 0], stack[1] / 4095, rtol=1e-6)


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        ([COLOUR, COLOUR[:5]], "Page 2 of .* has 14x5 pixels, and page 1 has 14x10 pixels"),
        ([GREY, GREY, COLOUR], "Page 3 of .* has colours of 8 bits, and page 1 has grey values of 8 bits"),
        ([GREY, GREY.astype(np.uint16)], "Page 2 of .* has grey values of 16 bits"),
    ],
)
def test_pages_of_different_kinds_are_refused(tmp_path: Path, pages: list[np.ndarray], words: str) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, photometric="rgb" if page.ndim == 3 else "minisblack")
    with pytest.raises(UserError, match=words):
        read_given(tmp_path / "a.tif")


def test_smaller_copies_in_a_tiff_are_no_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(COLOUR, photometric="rgb")
        file.write(COLOUR[::2, ::2], photometric="rgb", subfiletype=1)
    (picture,) = read_given(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, COLOUR.astype(np.float32) / np.float32(255))


def test_stack_without_a_list_of_its_pages_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([GREY] * 3), photometric="minisblack", truncate=True)
    with pytest.raises(UserError, match="list of pages names only the first"):
        read_given(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(9), r"an array of the shape \(9,\)"),
        (np.zeros((2, 3, 4, 5)), r"an array of the shape \(2, 3, 4, 5\)"),
        (np.zeros((0, 5)), r"an array of the shape \(0, 5\)"),
        (np.zeros((4, 5), int), "values of the type int64"),
        (np.zeros((4, 5), complex), "values of the type complex128"),
        (np.full((4, 5), np.inf), "not finite"),
        (np.full((2, 5, 5), np.nan, np.float16), "not finite"),
    ],
)
def test_arrays_of_other_kinds_are_refused(tmp_path: Path, values: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(UserError, match=words):
        read_given(tmp_path / "a.npy")


def test_arrays_never_run_code_and_never_take_more_memory_than_they_have(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="values of the type object"):
        read_given(tmp_path / "a.npy")
    header = str({"descr": "<f8", "fortran_order": False, "shape": (100_000, 100_000)}).ljust(117) + "\n"
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    with pytest.raises(UserError, match="more than 67,108,864 pixels"):
        read_given(tmp_path / "b.npy")
    (tmp_path / "c.npy").write_bytes((tmp_path / "b.npy").read_bytes().replace(b"100000, 100000", b"1000, 1000    "))
    with pytest.raises(UserError, match="damaged or cut short"):
        read_given(tmp_path / "c.npy")


def test_other_files_are_refused_with_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    with pytest.raises(UserError, match=r"PNG, .*, \.npy"):
        read_given(tmp_path / "notes.png")
    np.savez(tmp_path / "a.npz", GREY)
    with pytest.raises(UserError, match=r"an archive of NumPy arrays.* Save the picture alone, with numpy\.save"):
        read_given(tmp_path / "a.npz")


def test_stack_larger_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = np.stack([GREY] * 4)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    np.save(tmp_path / "a.npy", stack)
    monkeypatch.setattr(stored, "MAX_PIXELS", 10 * 14 * 3)
    for suffix in ("tif", "npy"):
        with pytest.raises(UserError, match="more than 420 pixels"):
            read_given(tmp_path / f"a.{suffix}")


def test_xmp_has_the_upright_orientation(tmp_path: Path) -> None:
    for quote in (b'tiff:Orientation="6"', b"<tiff:Orientation>6</tiff:Orientation>", b"tiff:Orientation = '6'"):
        assert upright_xmp(b"<x " + quote + b"/>") == b"<x " + quote.replace(b"6", b"1") + b"/>"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    xmp = b'<x:xmpmeta tiff:Orientation="6" dc:title="me"/>'
    path = saved(tmp_path / "a.jpg", COLOUR, exif=exif, xmp=xmp)
    (picture,) = read_given(path)
    chunks = dict(picture.source.metadata.chunks)
    assert chunks[b"iTXt"].endswith(xmp.replace(b"6", b"1")) and picture.pixels.shape == (14, 10, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "gif", "npy"])
def test_damaged_files_are_read_or_refused_whatever_is_in_them(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    if suffix == "npy":
        np.save(path, GREY)
    elif suffix == "tif":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags.update({270: "text", 282: 300.0, 283: 300.0, 315: "me", 34665: {0x829A: 0.01}, 34853: {1: "N"}})
        Image.fromarray(GREY).save(path, tiffinfo=tags, save_all=True, append_images=[Image.fromarray(GREY)])
    else:
        options: dict[str, Any] = {"exif": exif} if suffix != "gif" else {}
        saved(path, COLOUR, icc_profile=profile(DISPLAY_P3, None), **options)
    content = path.read_bytes()
    for _ in range(40):
        broken = bytearray(content)
        for index in RNG.integers(0, min(len(content), 400), RNG.integers(1, 4)):
            broken[index] = RNG.integers(0, 256)
        path.write_bytes(broken[: RNG.integers(1, len(content))] if RNG.random() < 0.2 else broken)
        try:
            pictures = read_given(path)
        except UserError:
            continue
        assert all(np.isfinite(picture.pixels).all() for picture in pictures)
        write_like(tmp_path / "copy", [picture.pixels for picture in pictures], pictures)
