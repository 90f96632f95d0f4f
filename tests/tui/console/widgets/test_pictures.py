"""Pictures: their proportions in every colour system, and damaged or hostile files."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from pathlib import Path

import pytest
from PIL import Image
from rich.color import Color, ColorSystem
from rich.segment import Segment
from rich.style import Style

from dipddpm.core.errors import UserError
from dipddpm.tui.console.widgets import pictures
from dipddpm.tui.console.widgets.pictures import PictureFile, PictureView, characters, load
from tests.tui.console.widgets.conftest import OpenStage
from tests.tui.driving import until_idle


def ramp(width: int = 64, height: int = 32) -> Image.Image:
    return Image.linear_gradient("L").rotate(90).resize((width, height))


def colours(rows: list[list[Segment]]) -> list[list[tuple[Color, Color]]]:
    """Return the upper and the lower colour of every cell."""

    def both(style: Style | None) -> tuple[Color, Color]:
        assert style is not None and style.color is not None and style.bgcolor is not None
        return style.color, style.bgcolor

    return [[both(segment.style) for segment in row for _ in segment.text] for row in rows]


def test_characters_draw_two_pixels_per_cell() -> None:
    image = Image.new("RGB", (2, 4))
    pixels = [(10, 0, 0), (20, 0, 0), (30, 0, 0), (40, 0, 0), (50, 0, 0), (60, 0, 0), (70, 0, 0), (80, 0, 0)]
    image.putdata(pixels)
    rows = colours(characters(image, 2, 2, "truecolor"))
    shown = [[(upper.get_truecolor().red, lower.get_truecolor().red) for upper, lower in row] for row in rows]
    assert shown == [[(10, 30), (20, 40)], [(50, 70), (60, 80)]]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (20, 24), (80, 3), (1, 1), (7, 5)])
def test_characters_keep_aspect_ratio_within_room(columns: int, rows: int) -> None:
    drawn = characters(ramp(), columns, rows, "truecolor")
    width = sum(len(segment.text) for segment in drawn[0])
    assert len(drawn) <= rows
    assert width <= columns
    if width > 10:
        assert width / (2 * len(drawn)) == pytest.approx(2, rel=0.15)


def test_characters_keep_pixels_sharp_when_enlarged() -> None:
    image = Image.new("L", (2, 2))
    image.putdata([0, 255, 255, 0])
    drawn = characters(image, 8, 4, "truecolor")
    assert {(u.get_truecolor().red, lo.get_truecolor().red) for row in colours(drawn) for u, lo in row} == {
        (0, 0),
        (255, 255),
    }


def test_characters_dither_grey_in_sixteen_colours() -> None:
    flat = Image.new("L", (40, 40), 128)
    shown = {
        half.downgrade(ColorSystem.STANDARD).number
        for row in colours(characters(flat, 40, 20, "standard"))
        for pair in row
        for half in pair
    }
    assert {7, 8} <= shown  # a mix of light grey and dark grey


def test_characters_use_sixteen_colours_of_rich() -> None:
    palette = Image.new("RGB", (16, 2))
    palette.putdata([tuple(pictures._ANSI_PALETTE[3 * n : 3 * n + 3]) for n in range(16)] * 2)
    (row,) = colours(characters(palette, 16, 1, "standard"))
    assert [upper.downgrade(ColorSystem.STANDARD).number for upper, _ in row] == list(range(16))


def test_characters_show_digits_without_colours() -> None:
    drawn = characters(ramp(40, 20), 20, 10, None)
    lines = ["".join(segment.text for segment in row) for row in drawn]
    assert len(set(lines)) == 1
    assert list(lines[0]) == sorted(lines[0], reverse=lines[0][0] == "9")
    assert {lines[0][0], lines[0][-1]} == {"0", "9"}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_load_accepts_every_common_image_mode(tmp_path: Path, mode: str) -> None:
    ramp().convert(mode).save(tmp_path / "x.png")
    assert characters(load(tmp_path / "x.png"), 20, 10, "256")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, body: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(body)) + _chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b"not a picture", "damaged"),
        (_png(10, 10)[:40], "damaged"),
        (_png(10, 10, b"\x00"), "damaged"),
        (_png(60_000, 60_000), "too many pixels"),
        (_png(10_000, 10_000), "too many pixels"),
        (_png(5_000, 5_000), "too many pixels"),
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "damaged"),
    ],
)
def test_load_refuses_damaged_or_huge_picture(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=words):
        load(tmp_path / "x.png")


def test_load_refuses_missing_special_or_large_file_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    ramp().save(tmp_path / "large.png")
    monkeypatch.setattr(pictures, "MAX_BYTES", 10)
    for name in ("pipe.png", "folder.png", "large.png", "missing.png"):
        with pytest.raises(UserError, match=name):
            load(tmp_path / name)


async def test_picture_view_shows_picture_below_caption(stage: OpenStage, tmp_path: Path) -> None:
    ramp().save(tmp_path / "x.png")
    view = PictureView()
    async with stage(view, (40, 12)) as (app, pilot):
        view.show(PictureFile(tmp_path, "x.png"), "degraded | [b]restored[/b]")
        await until_idle(pilot)
        lines = app.lines()
        assert lines[0] == "degraded | [b]restored[/b]"
        assert set(lines[1]) <= set("▀0123456789")
        ramp().rotate(180).save(tmp_path / "x.png")
        before = view._lines[1]
        view.show(PictureFile(tmp_path, "x.png"), "degraded | [b]restored[/b]")
        await until_idle(pilot)
        assert view._lines[1] != before


async def test_picture_view_never_shows_picture_of_previous_run(
    stage: OpenStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        ramp().save(tmp_path / name / "x.png")
    view, release = PictureView(), threading.Event()

    def load_when_released(path: Path) -> Image.Image:
        release.wait(20)
        return load(path)

    async with stage(view, (40, 12)) as (app, pilot):
        view.show(PictureFile(tmp_path / "one", "x.png"), "first")
        await until_idle(pilot)
        assert app.lines()[0] == "first"
        assert app.lines()[1]
        monkeypatch.setattr(pictures, "load", load_when_released)
        view.show(PictureFile(tmp_path / "two", "x.png"), "second")
        await pilot.pause()
        assert app.lines()[:2] == ["second", ""]
        release.set()
        await until_idle(pilot)
        assert app.lines()[1]


async def test_picture_view_explains_missing_picture(stage: OpenStage, tmp_path: Path) -> None:
    view = PictureView()
    async with stage(view, (40, 12)) as (app, pilot):
        view.show(PictureFile(tmp_path, "gone\x1b[31m.png"), "restored")
        await until_idle(pilot)
        assert "gone\\x1b[31m.png doesn't exist." in " ".join(app.lines())
        view.show(PictureFile(tmp_path, "../outside.png"), "restored")
        await until_idle(pilot)
        assert "The picture isn't a PNG file in" in " ".join(app.lines())


async def test_picture_view_shows_digits_without_colour(
    stage: OpenStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp().save(tmp_path / "x.png")
    view = PictureView()
    async with stage(view, (40, 12)) as (app, pilot):
        monkeypatch.setattr(app, "no_color", True)
        view.show(PictureFile(tmp_path, "x.png"), "grey")
        await until_idle(pilot)
        assert set("".join(app.lines()[1:])) <= set("0123456789")
        assert app.lines()[1]


@pytest.mark.parametrize("setting", ["0", ""])
def test_detect_graphics_is_false_without_pixel_terminal(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    for name in ("TERM_PROGRAM", "LC_TERMINAL", "KONSOLE_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color" if not setting else "xterm-kitty")
    monkeypatch.setenv("DIPDDPM_GRAPHICS", setting)
    assert pictures.detect_graphics() is False
