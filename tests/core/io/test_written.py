"""Given pictures written back unchanged: every reader must find them equal to the file that they came from."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, TiffImagePlugin

from dipddpm.core.io import png
from dipddpm.core.io.given import read_given
from dipddpm.core.io.written import write_like
from tests.core.io.profiles import DISPLAY_P3, profile

RNG = np.random.default_rng(7)


def back(path: Path, **options: Any) -> Path:
    """Write the pictures of a file back unchanged, and return the path of the new file."""
    pictures = read_given(path, **options)
    copy = path.with_name(f"copy{pictures[0].source.ending}")
    write_like(copy, [picture.pixels for picture in pictures], pictures)
    return copy


def magick_difference(first: str, second: str, *options: str) -> int:
    """Return the number of pixels that ImageMagick finds different, opacity included."""
    turned = subprocess.run(["convert", first, *options, "miff:-"], capture_output=True, check=True).stdout
    command = ["compare", "-metric", "AE", "-", second, "null:"]
    done = subprocess.run(command, input=turned, capture_output=True, check=False)
    return int(float(done.stderr.split()[0]))


def _values(bits: int, channels: int) -> np.ndarray:
    dtype = np.uint8 if bits == 8 else np.uint16
    values = RNG.integers(0, 2**bits, (11, 17, channels)).astype(dtype)
    values[0, 0], values[0, 1] = 0, 2**bits - 1
    if channels in {2, 4}:
        values[1, 0, -1], values[1, 1, -1] = 0, 2**bits - 1
    return values


def _png(path: Path, values: np.ndarray) -> Path:
    """Write a PNG with ImageMagick."""
    bits, channels = 8 * values.dtype.itemsize, values.shape[-1]
    kind = {1: "gray", 2: "graya", 3: "rgb", 4: "rgba"}[channels]
    size = f"{values.shape[1]}x{values.shape[0]}"
    command = ["convert", "-depth", str(bits), "-endian", "LSB", "-size", size, f"{kind}:-"]
    define = ["-define", f"png:bit-depth={bits}", "-define", f"png:color-type={ {1: 0, 2: 4, 3: 2, 4: 6}[channels] }"]
    subprocess.run([*command, *define, str(path)], input=values.tobytes(), check=True)
    return path


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_every_kind_comes_back_equal_to_imagemagick(tmp_path: Path, bits: int, channels: int) -> None:
    path = _png(tmp_path / "a.png", _values(bits, channels))
    copy = back(path)
    assert magick_difference(str(path), str(copy)) == 0
    facts = [
        subprocess.run(["identify", "-format", "%z %[channels] %wx%h", each], capture_output=True, check=True).stdout
        for each in (path, copy)
    ]
    assert facts[0] == facts[1] and facts[0].startswith(b"%d " % bits)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("pages", [1, 4])
def test_tiff_of_every_kind_comes_back_equal_to_tifffile(tmp_path: Path, dtype: str, channels: int, pages: int) -> None:
    values = RNG.random((pages, 12, 9, channels))
    stored = (values if dtype == "f4" else values * np.iinfo(dtype).max).astype(dtype)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in stored:
            file.write(
                page[..., 0] if channels == 1 else page, photometric="rgb" if channels > 2 else "minisblack",
                planarconfig="contig" if channels > 1 else None, extrasamples=["unassalpha"] * (channels in {2, 4}),
            )  # fmt: skip
    copy = tifffile.TiffFile(io.BytesIO(back(tmp_path / "a.tif").read_bytes()))
    assert len(copy.pages) == pages
    np.testing.assert_array_equal(np.stack([page.asarray() for page in copy.pages]).reshape(stored.shape), stored)
    assert copy.pages.first.dtype == np.dtype(dtype)
    assert copy.pages.first.extrasamples == (2,) * (channels in {2, 4})


SHAPES = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4])),
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.sampled_from([1, 2, 5, 6])),
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.sampled_from([3, 4])),
)
FLOATS = {"allow_nan": False, "allow_infinity": False}


@given(values=st.sampled_from(["u1", ">u2", "u2", "f2", "f4", "f8"]).flatmap(
    lambda kind: arrays(
        kind, SHAPES,
        elements=st.floats(0, 1, width=16) if kind[0] == "f" else None,
    )
))  # fmt: skip
@settings(deadline=None)
def test_any_array_comes_back_equal(values: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.npy"
    np.save(path, values)
    copy = np.load(back(path))
    assert copy.dtype == (np.float32 if values.dtype.kind == "f" else values.dtype.newbyteorder("="))
    np.testing.assert_array_equal(copy, values)


@given(values=arrays(st.sampled_from(["u1", "u2"]), st.tuples(*[st.integers(1, 12)] * 2, st.integers(1, 4))))
@settings(deadline=None)
def test_any_values_are_read_from_written_png_by_pillow(values: np.ndarray) -> None:
    file = io.BytesIO()
    png.write(file, values)
    read = np.atleast_3d(np.asarray(Image.open(file)))
    if values.dtype == np.uint8 or values.shape[-1] == 1:
        np.testing.assert_array_equal(read, values)
    else:  # Pillow reads the high bytes
        colours = read[..., [0, 3]] if values.shape[-1] == 2 else read
        np.testing.assert_array_equal(colours, values >> 8)


def test_array_keeps_floats_outside_zero_to_one(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values := RNG.normal(size=(5, 6)) * 4)
    (picture,) = read_given(tmp_path / "a.npy")
    assert picture.pixels.min() < 0 and "say so" in picture.warnings[0]
    np.testing.assert_array_equal(np.load(back(tmp_path / "a.npy")), values.astype(np.float32))
    (scaled,) = read_given(tmp_path / "a.npy", white=2)
    np.testing.assert_allclose(scaled.pixels[..., 0], values / 2, rtol=1e-6)
    assert scaled.warnings == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_comes_back_upright_with_profile_and_exif(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Maker"
    exif.get_ifd(ExifTags.IFD.Exif).update({0xA002: 17, 0xA003: 11, 0x829A: 0.01, 0x927C: b"notes of the maker"})
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (48.0, 8.0, 0.0)})
    p3 = profile(DISPLAY_P3, None)
    Image.fromarray(_values(8, 3)).save(tmp_path / "a.jpg", exif=exif, icc_profile=p3, dpi=(300, 300))
    with Image.open(tmp_path / "a.jpg") as before, Image.open(back(tmp_path / "a.jpg")) as after:
        turned = ImageOps.exif_transpose(before)
        np.testing.assert_array_equal(np.asarray(after), np.asarray(turned))
        assert after.info["icc_profile"] == p3 and after.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        ours, theirs = after.getexif(), before.getexif()
        assert ours[ExifTags.Base.Orientation] == 1 and ours[ExifTags.Base.Make] == "Maker"
        details = dict(theirs.get_ifd(ExifTags.IFD.Exif))
        details[0xA002], details[0xA003] = turned.size
        assert dict(ours.get_ifd(ExifTags.IFD.Exif)) == details
        assert ours.get_ifd(ExifTags.IFD.GPSInfo) == theirs.get_ifd(ExifTags.IFD.GPSInfo)
        np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(after)), np.asarray(turned))


def test_png_keeps_texts_gamma_and_resolution(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Somebody")
    info.add_itxt("Title", "Ünïcode", "de", "Title", zip=True)
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    Image.fromarray(_values(8, 4)).save(tmp_path / "a.png", pnginfo=info, dpi=(72, 72))
    with Image.open(tmp_path / "a.png") as before, Image.open(back(tmp_path / "a.png")) as after:
        assert after.info == before.info and len(after.info) == 4
        assert after.mode == "RGBA"


def test_tiff_keeps_profile_resolution_and_names(tmp_path: Path) -> None:
    p3 = profile(DISPLAY_P3, None)
    values = _values(16, 3)
    extra = [(315, "s", 0, "Artist", True), (700, "B", 5, b"<xmp>", True), (33432, "s", 0, b"\xc2\xa9 me\0", True)]
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric="rgb", iccprofile=p3, resolution=(300, 150), resolutionunit=3,
        description="cells", software="scope", datetime="2026:01:02 03:04:05", metadata=None, extratags=extra,
    )  # fmt: skip
    before = tifffile.TiffFile(io.BytesIO((tmp_path / "a.tif").read_bytes())).pages.first.tags
    after = tifffile.TiffFile(io.BytesIO(back(tmp_path / "a.tif").read_bytes())).pages.first.tags
    for code in (270, 282, 283, 296, 305, 306, 315, 700, 33432, 34675):
        assert after[code].value == before[code].value, code


@pytest.mark.parametrize("pages", [1, 3])
def test_tiff_keeps_exif_for_every_reader(tmp_path: Path, pages: int) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[271], tags[274] = "Maker", 8
    tags[34665] = {0x829A: TiffImagePlugin.IFDRational(1, 100), 0x8827: 400, 0x9003: "2026:01:01 10:00:00"}
    tags[34853] = {1: "N", 2: (48.0, 8.0, 0.0)}
    images = [Image.fromarray(_values(8, 3)) for _ in range(pages)]
    images[0].save(tmp_path / "a.tif", tiffinfo=tags, save_all=True, append_images=images[1:])
    copy = back(tmp_path / "a.tif")
    for number in range(pages):
        assert magick_difference(f"{tmp_path / 'a.tif'}[{number}]", f"{copy}[{number}]", "-auto-orient") == 0
    before, after = (tifffile.TiffFile(io.BytesIO(path.read_bytes())).pages for path in (tmp_path / "a.tif", copy))
    assert len(after) == pages
    for code in (271, 34665, 34853):
        assert after.first.tags[code].value == before.first.tags[code].value
    with Image.open(copy) as opened:
        assert opened.getexif().get_ifd(34853) == {1: "N", 2: (48.0, 8.0, 0.0)}


@pytest.mark.parametrize("bits", [8, 16])
def test_premultiplied_colours_come_back_equal(tmp_path: Path, bits: int) -> None:
    values = _values(bits, 4)
    values[..., :3] = values[..., :3] * (values[..., 3:] / (2**bits - 1))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["assocalpha"])
    copy = tifffile.TiffFile(io.BytesIO(back(tmp_path / "a.tif").read_bytes())).pages.first
    np.testing.assert_array_equal(copy.asarray(), values)
    assert copy.extrasamples == (1,)


def test_premultiplied_colours_in_other_compressions_are_read_too(tmp_path: Path) -> None:
    png, path = tmp_path / "a.png", tmp_path / "a.tif"
    Image.fromarray(_values(8, 4)).save(png)
    options = ["-define", "tiff:alpha=associated", "-compress", "LZW"]
    subprocess.run(["convert", str(png), *options, str(path)], check=True)
    assert tifffile.TiffFile(io.BytesIO(path.read_bytes())).pages.first.extrasamples == (1,)
    (picture,) = read_given(path)
    (expected,) = read_given(png)
    assert picture.alpha is not None and expected.alpha is not None
    np.testing.assert_array_equal(picture.alpha, expected.alpha)
    difference = np.abs(picture.pixels - expected.pixels).max(-1)
    assert (difference <= 1.01 / 255 / np.maximum(picture.alpha, 1 / 255)).all()


def test_enlarged_picture_has_the_opacity_enlarged(tmp_path: Path) -> None:
    Image.fromarray(_values(8, 4)).save(tmp_path / "a.png")
    (picture,) = pictures = read_given(tmp_path / "a.png")
    write_like(tmp_path / "b.png", [picture.pixels.repeat(2, 0).repeat(2, 1)], pictures)
    assert Image.open(tmp_path / "b.png").mode == "RGBA" and Image.open(tmp_path / "b.png").size == (34, 22)


def test_values_are_clipped_and_rounded_to_the_nearest_level(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((1, 6), np.uint8)).save(tmp_path / "a.png")
    restored = np.array([-0.5, 0.4 / 255, 0.6 / 255, 1.7, np.nan, 100.49 / 255])[None, :, None]
    write_like(tmp_path / "b.png", [restored], read_given(tmp_path / "a.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png"))[0], [0, 0, 1, 255, 0, 100])
    colours = np.stack([restored] * 3, 2)[..., 0]
    write_like(tmp_path / "c.png", [np.nan_to_num(colours)], read_given(tmp_path / "a.png"))
    assert Image.open(tmp_path / "c.png").mode == "L"


def test_stack_of_imagej_keeps_its_notes(tmp_path: Path) -> None:
    notes = {
        "axes": "ZYX",
        "spacing": 2.0,
        "unit": "um",
        "Labels": ["a", "b"],
        "Info": "slide",
        "ROI": b"Iout" + bytes(60),
    }
    values = RNG.integers(0, 65536, (2, 9, 8)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata=notes, resolution=(5, 5))
    before, after = (
        tifffile.TiffFile(io.BytesIO(path.read_bytes())) for path in (tmp_path / "a.tif", back(tmp_path / "a.tif"))
    )
    assert after.imagej_metadata == before.imagej_metadata and after.series[0].axes == "ZYX"
    np.testing.assert_array_equal(after.asarray(), values)
