"""Pictures as people have them: depths, byte orders, colour profiles and transparency."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, TiffImagePlugin

from dipddpm.core.errors import UserError
from dipddpm.core.io import pictures, stored
from dipddpm.core.io.pictures import Inspected, decode, inspect
from tests.core.io.profiles import ADOBE_RGB, DISPLAY_P3, PROPHOTO, SRGB, profile, to_srgb

RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 65536, (9, 14)).astype(np.uint16)
COLOUR = RNG.integers(0, 65536, (9, 14, 3)).astype(np.uint16)
GREY[0, 0], COLOUR[0, 0], GREY[0, 1], COLOUR[0, 1] = 65535, 65535, 0, 0


def png(colour_type: int, values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a 16-bit PNG, built by the specification."""
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def colours(path: Path, **options: Any) -> np.ndarray:
    return np.squeeze(decode(path, **options).over_white())


# ---- depth


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("photometric", ["miniswhite", "minisblack"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f2", "f4", "f8"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_decode_reads_grey_tiff_of_every_depth_and_order(
    tmp_path: Path, byteorder: Any, photometric: str, dtype: str, compression: str | None
) -> None:
    expected = GREY / 65535
    white = 1 if dtype.startswith("f") else np.iinfo(dtype).max
    stored = (expected * white if dtype.startswith("f") else np.round(expected * white)).astype(dtype)
    inverted = (white - stored).astype(dtype) if photometric == "miniswhite" else stored
    tifffile.imwrite(
        tmp_path / "a.tif", inverted, byteorder=byteorder, photometric=photometric, compression=compression
    )
    np.testing.assert_allclose(colours(tmp_path / "a.tif"), stored / white, atol=1e-3 if dtype == "f2" else 1e-6)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f2", "f4", "f8"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_decode_reads_colour_tiff_of_every_depth_and_layout(
    tmp_path: Path, dtype: str, byteorder: Any, planar: str, tile: tuple[int, int] | None
) -> None:
    white = 1 if dtype.startswith("f") else np.iinfo(dtype).max
    stored = (COLOUR / 65535 * white).astype(dtype)
    layers = np.moveaxis(stored, -1, 0) if planar == "separate" else stored
    tifffile.imwrite(tmp_path / "a.tif", layers, photometric="rgb", planarconfig=planar, byteorder=byteorder, tile=tile)
    np.testing.assert_allclose(colours(tmp_path / "a.tif"), stored / white, atol=1e-6)


@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha", "unspecified"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_decode_blends_alpha_of_sixteen_bit_tiff(tmp_path: Path, extra: str, channels: int, byteorder: Any) -> None:
    values, alpha = COLOUR[..., :channels] / 65535, GREY[..., None] / 65535
    premultiplied = values * alpha if extra == "assocalpha" else values
    stored = np.round(np.concatenate([premultiplied, alpha], -1) * 65535).astype(np.uint16)
    photometric = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric=photometric, extrasamples=[extra], planarconfig="contig",
        byteorder=byteorder,
    )  # fmt: skip
    expected = values if extra == "unspecified" else values * alpha + 1 - alpha
    np.testing.assert_allclose(colours(tmp_path / "a.tif"), np.squeeze(expected), atol=2e-4)


@pytest.mark.parametrize("colour_type", [2, 4, 6])
def test_decode_reads_sixteen_bit_colour_png_exactly(tmp_path: Path, colour_type: int) -> None:
    alpha = GREY[..., None]
    stored = {2: COLOUR, 4: np.concatenate([COLOUR[..., :1], alpha], -1), 6: np.concatenate([COLOUR, alpha], -1)}
    (tmp_path / "a.png").write_bytes(png(colour_type, stored[colour_type]))
    expected = (COLOUR[..., :1] if colour_type == 4 else COLOUR) / 65535
    if colour_type != 2:
        expected = expected * (alpha / 65535) + 1 - alpha / 65535
    np.testing.assert_allclose(colours(tmp_path / "a.png"), np.squeeze(expected), atol=1e-6)


@pytest.mark.parametrize("colour_type", [0, 2])
def test_decode_makes_transparent_colour_of_sixteen_bit_png_white(tmp_path: Path, colour_type: int) -> None:
    values = GREY if colour_type == 0 else COLOUR
    clear = values[3, 5]
    (tmp_path / "a.png").write_bytes(png(colour_type, values, (b"tRNS", np.atleast_1d(clear).astype(">u2").tobytes())))
    expected = np.where(np.atleast_3d(values == clear).all(-1, keepdims=True), 1, np.atleast_3d(values) / 65535)
    np.testing.assert_allclose(colours(tmp_path / "a.png"), np.squeeze(expected), atol=1e-6)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_deflate", "zstd"])
def test_decode_inverts_compressed_sixteen_bit_tiff(tmp_path: Path, compression: str) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    Image.fromarray(65535 - GREY).save(tmp_path / "a.tif", compression=compression, tiffinfo=tags)
    np.testing.assert_allclose(colours(tmp_path / "a.tif"), GREY / 65535, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_turns_float_colour_upright_as_pillow_turns_bytes(tmp_path: Path, orientation: int) -> None:
    values = (COLOUR >> 8).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "f.tif", values.astype(np.float64) / 255, photometric="rgb",
        extratags=[(274, "H", 1, orientation, True)],
    )  # fmt: skip
    Image.fromarray(values).save(tmp_path / "b.tif", tiffinfo={274: orientation})
    np.testing.assert_allclose(colours(tmp_path / "f.tif"), colours(tmp_path / "b.tif"), atol=1e-6)


def test_decode_warns_of_twelve_bits_in_sixteen_and_white_scales_them(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 126).round().astype(np.uint16).reshape(9, 14)
    Image.fromarray(values).save(tmp_path / "a.png")
    (warning,) = decode(tmp_path / "a.png").warnings
    assert "largest value is 4,095 of 65,535" in warning and "images.white=4095" in warning
    scaled = decode(tmp_path / "a.png", white=4095)
    np.testing.assert_allclose(scaled.colour[..., 0], values / 4095, atol=1e-6)
    assert scaled.warnings == () == decode(_saved(tmp_path / "b.png", GREY)).warnings
    with pytest.raises(UserError, match=r"values outside \[0, 100\]"):
        decode(tmp_path / "a.png", white=100)


def test_decode_reads_packed_twelve_bits(tmp_path: Path) -> None:
    values = RNG.integers(0, 4096, (4, 6))
    nibbles = [f"{value:03x}" for value in values.ravel()]
    data = bytes.fromhex("".join(nibbles))
    entries = {256: 6, 257: 4, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4, 279: len(data)}
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    start = b"II*\0" + struct.pack("<I", 8 + len(data))
    (tmp_path / "a.tif").write_bytes(start + data + struct.pack("<H", len(entries)) + body + bytes(4))
    np.testing.assert_allclose(colours(tmp_path / "a.tif"), values / 4095, atol=1e-6)


def test_decode_blends_planar_alpha_of_eight_bit_tiff(tmp_path: Path) -> None:
    alpha = GREY[..., None] / 65535
    values = np.round(np.concatenate([COLOUR / 65535 * alpha, alpha], -1) * 255).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", np.moveaxis(values, -1, 0), photometric="rgb", extrasamples=["assocalpha"],
        planarconfig="separate",
    )  # fmt: skip
    np.testing.assert_allclose(colours(tmp_path / "a.tif"), COLOUR / 65535 * alpha + 1 - alpha, atol=1.6 / 255)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_decode_makes_white_what_first_frame_of_gif_leaves_out(tmp_path: Path, mode: str) -> None:
    Image.new("L", (4, 3), 7).convert(mode).save(tmp_path / "a.gif")
    content = bytearray((tmp_path / "a.gif").read_bytes())
    content[6:10] = struct.pack("<HH", 9, 8)  # the size of the whole picture
    frame = content.index(b",") + 1
    content[frame : frame + 4] = struct.pack("<HH", 2, 1)
    (tmp_path / "a.gif").write_bytes(content)
    expected = np.full((8, 9), 1.0)
    expected[1:4, 2:6] = 7 / 255
    np.testing.assert_allclose(decode(tmp_path / "a.gif").over_white().min(-1), expected, atol=1e-6)
    assert pictures.is_grey(tmp_path / "a.gif") == (decode(tmp_path / "a.gif").colour.shape[-1] == 1)


def test_decode_ignores_long_texts_of_png(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "a" * 3_000_000, zip=True)
    path = _saved(tmp_path / "a.png", EVERY, pnginfo=info)
    np.testing.assert_array_equal(colours(path), EVERY.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "not finite"), (np.inf, "not finite"), (-0.25, "-0.25 to 1"), (1.5, r"outside \[0, 1\]: 0 to 1.5")],
)
def test_decode_names_values_of_floats_that_it_refuses(tmp_path: Path, value: float, words: str) -> None:
    values = (GREY / 65535).astype(np.float32)
    values[4, 4] = value
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(UserError, match=words):
        decode(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4"])
def test_decode_refuses_signed_tiff_unless_white_is_given(tmp_path: Path, dtype: str) -> None:
    values = (GREY // 1024).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(UserError, match="signed integers, in which white is not defined"):
        decode(tmp_path / "a.tif")
    np.testing.assert_allclose(colours(tmp_path / "a.tif", white=100), values / 100, atol=1e-6)


def test_decode_names_kind_of_tiff_that_it_refuses(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 8, 8), np.uint16), photometric="minisblack", planarconfig="separate")
    with pytest.raises(UserError, match=r"kind that is not read \(5 layers\)"):
        decode(path)
    tifffile.imwrite(path, np.zeros((8, 8, 3), np.uint16), photometric="cielab")
    with pytest.raises(UserError, match=r"kind that is not read \(CIELab\)"):
        decode(path)
    for layout, shape in (("contig", (8, 9, 3)), ("separate", (3, 8, 9))):
        tifffile.imwrite(path, np.zeros(shape, np.uint16), photometric="minisblack", planarconfig=layout)
        with pytest.raises(UserError, match=r"kind that is not read \(3 layers\)"):
            decode(path)
    sixteen, ten = [struct.pack("<HHIHH", 258, 3, 1, count, 0) for count in (16, 10)]
    (tmp_path / "b.tif").write_bytes(_saved(path, GREY).read_bytes().replace(sixteen, ten))
    with pytest.raises(UserError, match=r"kind that is not read \(10 bits"):
        decode(tmp_path / "b.tif")
    tifffile.imwrite(path, np.zeros((8, 8), np.complex64))
    with pytest.raises(UserError, match=r"kind that is not read \(complex numbers\)"):
        decode(path)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f8"])
def test_decode_refuses_huge_tiff_of_every_reader(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", COLOUR.astype(dtype), photometric="rgb")
    monkeypatch.setattr(stored, "MAX_PIXELS", 100)
    with pytest.raises(UserError, match="has more than 100 pixels"):
        decode(tmp_path / "a.tif")


def test_decode_names_cut_tiff_of_every_reader(tmp_path: Path) -> None:
    for dtype in ("u2", "f8", "u4"):
        tifffile.imwrite(tmp_path / "a.tif", COLOUR.astype(dtype), photometric="rgb")
        content = (tmp_path / "a.tif").read_bytes()
        (tmp_path / "a.tif").write_bytes(content[:-40])
        with pytest.raises(UserError, match="damaged or cut short"):
            decode(tmp_path / "a.tif")


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("below", [0, 1])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_decode_reads_largest_picture_of_tiff_that_begins_with_preview(
    tmp_path: Path, dtype: str, below: int, byteorder: Any, bigtiff: bool
) -> None:
    preview, path = np.zeros((4, 6, 3), np.uint8), tmp_path / "a.tif"
    stored = (GREY.astype(np.float64) / 65535 * np.iinfo(dtype).max).astype(dtype)
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as file:
        file.write(preview, photometric="rgb", subfiletype=1, subifds=below)
        file.write(stored, photometric="minisblack")
        file.write(stored[::2, ::2], photometric="minisblack", subfiletype=0)
    np.testing.assert_allclose(colours(path), stored / np.iinfo(dtype).max, atol=1e-6)
    assert pictures.is_grey(path)


def test_decode_reads_preview_that_is_only_image_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, photometric="minisblack", subfiletype=1)
    np.testing.assert_allclose(colours(path), GREY / 65535, atol=1e-6)
    with tifffile.TiffWriter(path) as file:
        file.write(GREY, photometric="minisblack", subfiletype=1)
        file.write(GREY[::2], photometric="minisblack", subfiletype=1)
    with pytest.raises(UserError, match="all its images are marked as small previews"):
        decode(path)


# ---- colour profiles

EVERY = np.stack(np.meshgrid(*[np.arange(0, 256, 17, dtype=np.uint8)] * 3), -1).reshape(64, 64, 3)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize(("primaries", "gamma"), [(DISPLAY_P3, None), (ADOBE_RGB, 563 / 256), (PROPHOTO, 1.80078125)])
def test_decode_converts_profile_to_srgb(tmp_path: Path, primaries: Any, gamma: float | None, suffix: str) -> None:
    more: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    path = _saved(tmp_path / f"a.{suffix}", EVERY, icc_profile=profile(primaries, gamma), **more)
    np.testing.assert_allclose(colours(path), to_srgb(EVERY / 255, primaries, gamma), atol=1.6 / 255)


def test_decode_converts_profile_of_palette_transparency_and_sixteen_bits(tmp_path: Path) -> None:
    p3 = profile(DISPLAY_P3, None)
    expected = to_srgb(EVERY / 255, DISPLAY_P3, None)
    alpha = np.broadcast_to(np.linspace(0, 255, 64).round().astype(np.uint8)[:, None, None], (64, 64, 1))
    path = _saved(tmp_path / "a.png", np.concatenate([EVERY, alpha], -1), icc_profile=p3)
    np.testing.assert_allclose(colours(path), expected * (alpha / 255) + 1 - alpha / 255, atol=1.6 / 255)
    tifffile.imwrite(tmp_path / "a.tif", EVERY.astype(np.uint16) * 257, photometric="rgb", iccprofile=p3)
    np.testing.assert_allclose(colours(tmp_path / "a.tif"), expected, atol=1.6 / 255)
    few = EVERY[:4, :16]
    palette = Image.fromarray(few).quantize(64, dither=Image.Dither.NONE)
    palette.save(tmp_path / "p.png", icc_profile=p3)
    seen = np.asarray(palette.convert("RGB"))
    np.testing.assert_allclose(colours(tmp_path / "p.png"), to_srgb(seen / 255, DISPLAY_P3, None), atol=1.6 / 255)


@pytest.mark.parametrize(
    "srgb", [profile(SRGB, None), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()]
)
def test_decode_leaves_srgb_bit_for_bit(tmp_path: Path, srgb: bytes) -> None:
    path = _saved(tmp_path / "a.png", EVERY, icc_profile=srgb)
    np.testing.assert_array_equal(colours(path), EVERY.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("primaries", [None, ADOBE_RGB])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_decode_converts_grey_profile(tmp_path: Path, primaries: Any, dtype: Any) -> None:
    white = np.iinfo(dtype).max
    values = np.linspace(0, white, 4000).round().astype(dtype).reshape(50, 80)
    path = _saved(tmp_path / "a.tif", values, icc_profile=profile(primaries, 1.80078125))
    light = (values / white) ** 1.80078125
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(colours(path), expected, atol=2 / 255)


@pytest.mark.parametrize("gamma", [1.0, 1.80078125, 2.19921875])
def test_decode_converts_dark_grey_levels_exactly(tmp_path: Path, gamma: float) -> None:
    path = _saved(tmp_path / "a.png", np.arange(256, dtype=np.uint8)[None], icc_profile=profile(None, gamma))
    light = (np.arange(256) / 255) ** gamma
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(colours(path), expected, atol=0.6 / 255)


def test_decode_converts_cmyk_profile_as_pillow_does(tmp_path: Path) -> None:
    inks = RNG.integers(0, 256, (8, 8, 4), np.uint8)
    image = Image.fromarray(inks, "CMYK")
    image.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(
        colours(tmp_path / "a.tif"), np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
    )


@pytest.mark.parametrize("broken", [b"rubbish", b"", profile(DISPLAY_P3, None)[:200], profile(None, 2.2)])
def test_decode_warns_of_unusable_profile_and_ignores_it(tmp_path: Path, broken: bytes) -> None:
    Image.fromarray(EVERY).save(tmp_path / "a.jpg", quality=100, subsampling=0)
    plain = colours(tmp_path / "a.jpg")
    picture = decode(_saved(tmp_path / "b.jpg", EVERY, quality=100, subsampling=0, icc_profile=broken))
    np.testing.assert_array_equal(picture.colour, plain)
    assert len(picture.warnings) == bool(broken)
    assert all("colour profile" in warning for warning in picture.warnings)


@pytest.mark.parametrize(
    ("chunk", "content", "words"),
    [
        (b"gAMA", struct.pack(">I", 100_000), "gamma of 1"),
        (b"gAMA", struct.pack(">I", 45455), ""),
        (b"cICP", bytes([9, 16, 0, 1]), "cICP"),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000), "cHRM"),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), ""),
        (b"cICP", bytes([1, 13, 0, 1]), ""),
    ],
)
def test_decode_warns_of_colours_declared_by_png_chunks(
    tmp_path: Path, chunk: bytes, content: bytes, words: str
) -> None:
    info = PngImagePlugin.PngInfo()
    info.add(chunk, content)
    picture = decode(_saved(tmp_path / "a.png", EVERY, pnginfo=info))
    assert [words in warning for warning in picture.warnings] == [True] * bool(words)
    np.testing.assert_array_equal(picture.colour, EVERY.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(("space", "rule", "warned"), [(2, "", True), (65535, "R03", True), (1, "R98", False)])
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_decode_warns_of_adobe_rgb_in_exif(tmp_path: Path, space: int, rule: str, warned: bool, suffix: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update({0xA001: space, 0xA005: {1: rule}})
    path = _saved(tmp_path / f"a.{suffix}", EVERY, exif=exif)
    assert ["Adobe RGB" in warning for warning in decode(path).warnings] == [True] * warned
    _saved(path, EVERY, exif=exif, icc_profile=profile(SRGB, None))
    assert decode(path).warnings == ()


def test_inspect_reads_file_again_only_after_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(tmp_path / "a.png", GREY)
    assert decode(path).colour.shape == (9, 14, 1)
    monkeypatch.setattr(pictures, "decode", lambda *_: pytest.fail("read twice"))
    assert inspect(path) == Inspected((1, 9, 14), True, ())
    monkeypatch.undo()
    _saved(path, COLOUR[:5] >> 8)
    assert inspect(path) == Inspected((3, 5, 14), False, ())


def _saved(path: Path, values: np.ndarray, **options: Any) -> Path:
    if values.ndim == 3:
        values = values.astype(np.uint8)
    Image.fromarray(values).save(path, **options)
    return path
