from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torchvision.transforms.functional import normalize, to_tensor
from torchvision.utils import make_grid

from dipddpm.core.errors import UserError
from dipddpm.core.images import clip_visibly, grid, load_image, save_png, to_bytes, to_model, to_unit, with_channels

patient = settings(deadline=None)

PIXELS = np.random.default_rng(0).integers(0, 256, (13, 7, 3), np.uint8)


def saved(path: Path, values: np.ndarray, **options: Any) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG built from the format's specification."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


# ---- value ranges


def test_image_conversions_preserve_every_byte() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_unit(every)), every)
    assert torch.equal(to_bytes(to_unit(to_model(every))), every)
    assert torch.equal(to_bytes(to_unit(to_model(to_unit(every)))), every)
    assert to_unit(every)[[0, 255]].tolist() == [0, 1] and to_model(every)[[0, 255]].tolist() == [-1, 1]


def test_to_unit_and_to_model_match_torchvision() -> None:
    unit = to_tensor(PIXELS)
    bytes_ = torch.from_numpy(PIXELS).movedim(-1, 0)
    assert torch.equal(to_unit(bytes_), unit)
    assert torch.equal(to_model(bytes_), normalize(unit, [0.5], [0.5]))


@patient
@given(arrays(np.float64, 20, elements=st.floats(-4, 4)))
def test_to_unit_and_to_model_are_inverse_without_clipping(values: np.ndarray) -> None:
    x = torch.from_numpy(values)
    torch.testing.assert_close(to_unit(to_model(x)), x, rtol=0, atol=1e-15)
    torch.testing.assert_close(to_model(to_unit(x)), x, rtol=0, atol=1e-15)
    torch.testing.assert_close(to_unit(x), (x + 1) / 2)


@patient
@given(arrays(np.float32, 20, elements=st.floats(-2, 3, width=32)))
def test_to_bytes_rounds_to_nearest_grey_level(values: np.ndarray) -> None:
    levels = to_bytes(torch.from_numpy(values)).double().numpy()
    assert np.abs(levels - np.clip(values.astype(np.float64), 0, 1) * 255).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_to_bytes_refuses_nan_and_infinity(value: float) -> None:
    with pytest.raises(ValueError, match="no grey levels"):
        to_bytes(torch.tensor([0.5, value]))


@pytest.mark.parametrize("channels", [1, 3])
def test_save_png_draws_what_is_not_finite_in_magenta(tmp_path: Path, channels: int) -> None:
    image = torch.full((channels, 2, 3), 0.2)
    image[-1, 0, 0], image[0, 0, 1], image[0, 1, 2], image[:, 1, 0] = np.nan, np.inf, -np.inf, 1e30
    save_png(tmp_path / "a.png", image)
    save_png(tmp_path / "b.png", clip_visibly(image))
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as stored:
            assert stored.mode == "RGB"
            pixels = np.asarray(stored).tolist()
        magenta, grey, white = [255, 0, 255], [51] * 3, [255] * 3
        assert pixels == [[magenta, magenta, grey], [white, grey, magenta]]


# ---- image files


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "ppm"])
def test_load_image_reads_lossless_files_exactly(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a.{suffix}", PIXELS, **({"lossless": True} if suffix == "webp" else {}))
    image = load_image(path)
    assert image.shape == (1, 3, 13, 7) and image.dtype == torch.float32 and image.is_contiguous()
    assert torch.equal(image[0], to_tensor(PIXELS))


def test_load_image_reads_grey_as_one_channel_and_converts_channels(tmp_path: Path) -> None:
    grey, colour = saved(tmp_path / "grey.png", PIXELS[..., 0]), saved(tmp_path / "colour.png", PIXELS)
    assert torch.equal(load_image(grey)[0], to_tensor(PIXELS[..., 0]))
    assert torch.equal(load_image(grey, 3), load_image(grey).expand(1, 3, 13, 7))
    luma = torch.from_numpy(np.array(Image.fromarray(PIXELS).convert("L"))) / 255
    torch.testing.assert_close(load_image(colour, 1)[0, 0], luma, rtol=0, atol=1 / 255)
    assert torch.equal(with_channels(load_image(grey), 1), load_image(grey))


def test_load_image_reads_black_and_white_as_grey(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., 0]).convert("1", dither=Image.Dither.NONE).save(tmp_path / "a.png")
    assert torch.equal(load_image(tmp_path / "a.png")[0, 0], torch.from_numpy(PIXELS[..., 0] >= 128).float())


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_load_image_reads_sixteen_bit_grey_exactly(tmp_path: Path, suffix: str) -> None:
    values = np.arange(0, 65536, 771, dtype=np.uint16)[:84].reshape(12, 7)
    values[0, 0], values[-1, -1] = 0, 65535
    image = load_image(saved(tmp_path / f"a.{suffix}", values))
    assert image.shape == (1, 1, 12, 7)
    np.testing.assert_allclose(image[0, 0].numpy(), values / 65535, rtol=1e-6)


def test_load_image_reads_sixteen_bit_colour_exactly(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (5, 4, 3), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(4, 5, 16, 2, rows))
    np.testing.assert_allclose(load_image(tmp_path / "a.png")[0].movedim(0, -1), values / 65535, atol=1e-7)


def test_load_image_reads_float_files_in_range_only(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    assert torch.equal(load_image(saved(tmp_path / "a.tiff", values))[0, 0], torch.from_numpy(values))
    for wrong in (values * 255, values - 0.5):
        with pytest.raises(UserError, match=r"wrong\.tiff has values outside \[0, 1\]"):
            load_image(saved(tmp_path / "wrong.tiff", wrong))
    with pytest.raises(UserError, match=r"wrong\.tiff is a TIFF file of a kind that is not read \(signed integers"):
        load_image(saved(tmp_path / "wrong.tiff", np.full((3, 4), 70000, np.int32)))


@pytest.mark.parametrize("channels", [1, 3])
def test_load_image_blends_transparency_over_white(tmp_path: Path, channels: int) -> None:
    colour = PIXELS[..., :channels]
    alpha = np.random.default_rng(2).integers(0, 256, (13, 7, 1), np.uint8)
    alpha[0], alpha[1] = 0, 255
    image = load_image(saved(tmp_path / "a.png", np.concatenate([colour, alpha], -1)))
    share = alpha / 255
    np.testing.assert_allclose(image[0].movedim(0, -1), colour / 255 * share + 1 - share, atol=1e-6)
    assert image[..., 0, :].eq(1).all()


def test_load_image_expands_palette_with_white_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "opaque.gif")
    image.save(tmp_path / "clear.png", transparency=1)
    opaque, clear = load_image(tmp_path / "opaque.gif"), load_image(tmp_path / "clear.png")
    assert to_bytes(opaque)[0, :, 0].T.tolist() == [[10, 20, 30], [200, 100, 50]]
    assert to_bytes(clear)[0, :, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


def test_load_image_converts_cmyk_to_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    image = load_image(tmp_path / "a.jpg")
    torch.testing.assert_close(image[0, :, 8, 8], torch.tensor([1.0, 0.0, 0.0]), rtol=0, atol=0.03)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, 1)),
        (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)),
        (8, lambda a: np.rot90(a, 3)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_load_image_applies_exif_orientation(
    tmp_path: Path, orientation: int, stored: Callable[[np.ndarray], np.ndarray], dtype: type
) -> None:
    upright: np.ndarray = PIXELS[..., 0].astype(dtype)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", np.ascontiguousarray(stored(upright)), exif=exif)
    np.testing.assert_allclose(load_image(path)[0, 0].numpy(), upright / np.iinfo(dtype).max, rtol=1e-6)


def test_load_image_reads_first_frame_of_animation(tmp_path: Path) -> None:
    frames = [Image.new("L", (3, 3), value) for value in (50, 150)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert to_bytes(load_image(tmp_path / "a.gif")).unique().tolist() == [50]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp", "gif", "bmp"])
@patient
@given(share=st.floats(0.1, 0.8))
def test_load_image_names_truncated_file(tmp_path_factory: pytest.TempPathFactory, suffix: str, share: float) -> None:
    path = saved(tmp_path_factory.mktemp("cut") / f"photo.{suffix}", np.repeat(np.repeat(PIXELS, 9, 0), 9, 1))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError) as refused:
        load_image(path)
    assert str(path) in refused.value.problem


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@patient
@given(st.binary(max_size=200), st.sampled_from(["", "png", "jpg", "tiff", "webp", "gif", "bmp"]))
def test_load_image_reads_or_names_any_bytes(tmp_path_factory: pytest.TempPathFactory, noise: bytes, kind: str) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.png"
    head = b""
    if kind:
        buffer = io.BytesIO()
        Image.fromarray(PIXELS).save(buffer, format="JPEG" if kind == "jpg" else kind)
        head = buffer.getvalue()[:30]
    path.write_bytes(head + noise)
    try:
        image = load_image(path)
    except UserError as refused:
        assert str(path) in refused.problem
    else:
        assert image.min() >= 0 and image.max() <= 1


def test_load_image_names_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("dear diary")
    with pytest.raises(UserError, match=r"notes\.png is not a readable image"):
        load_image(tmp_path / "notes.png")
    (tmp_path / "page.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(UserError, match=r"page\.png is a PostScript file"):
        load_image(tmp_path / "page.png")
    with pytest.raises(UserError, match="There is no image file"):
        load_image(tmp_path / "missing.png")
    with pytest.raises(UserError, match="is a folder, not an image file"):
        load_image(tmp_path)


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
@pytest.mark.filterwarnings("error")
def test_load_image_refuses_pixel_bomb_before_unpacking(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png(side, side, 1, 0, bytes(100)))
    with pytest.raises(UserError, match=r"bomb\.png has more than 67,108,864 pixels"):
        load_image(tmp_path / "bomb.png")


def test_load_image_refuses_text_bomb(tmp_path: Path) -> None:
    text = b"comment\0\0" + zlib.compress(bytes(80 * 2**20))
    (tmp_path / "bomb.png").write_bytes(png(1, 1, 8, 0, b"\0\0", (b"zTXt", text)))
    with pytest.raises(UserError, match=r"bomb\.png"):
        load_image(tmp_path / "bomb.png")


# ---- writing


@pytest.mark.parametrize("channels", [1, 3])
def test_save_png_round_trips_bytes(tmp_path: Path, channels: int) -> None:
    image = torch.rand(channels, 11, 5)
    save_png(tmp_path / "a.png", image)
    assert torch.equal(to_bytes(load_image(tmp_path / "a.png")[0]), to_bytes(image))
    save_png(tmp_path / "b.png", image[None].requires_grad_())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_save_png_leaves_old_image_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    save_png(path, torch.zeros(1, 4, 4))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_png(path, torch.ones(1, 4, 4))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@patient
@given(count=st.integers(1, 13), columns=st.integers(1, 6), gap=st.integers(0, 3))
def test_grid_matches_torchvision(count: int, columns: int, gap: int) -> None:
    images = torch.rand(count, 3, 4, 5)
    columns = min(columns, count)
    theirs = make_grid(images, nrow=columns, padding=gap, pad_value=1.0)
    ours = grid(images, columns, gap=gap)
    if count > 1:  # torchvision adds no border to a single image
        assert torch.equal(ours, theirs)
    assert torch.equal(ours[:, gap : gap + 4, gap : gap + 5], images[0])


def test_grid_is_square_scaled_and_filled_with_background() -> None:
    images = torch.arange(1, 6).view(5, 1, 1, 1) / 10
    laid = grid(images, scale=2)
    assert laid.shape == (1, 2 * 3 + 1, 3 * 3 + 1)
    assert laid[0, 1:3, 1:3].eq(images[0]).all() and laid[0, 4:6, 4:6].eq(images[4]).all()
    assert laid[0, 3].eq(1).all() and laid[0, 4:6, 7:9].eq(1).all()
