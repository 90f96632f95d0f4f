"""A picture in the terminal: half blocks in as many colours as there are, grey values as digits where there are none.

Where the terminal can show real pixels (Kitty's protocol, Sixel) and the extra `dipddpm[images]` is installed, that is
used instead; `detect_graphics` must ask the terminal before the app begins to listen to it.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.widget import Widget

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic
from dipddpm.core.io.sanitize import printable, wrapped
from dipddpm.tui.console.background import run_in_background
from dipddpm.tui.console.widgets.lines import LinesWidget
from dipddpm.tui.shared.graphics import may_have_graphics

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 32 << 20
MAX_PIXELS = 16 << 20
"""A picture of ours is a thousandth of this."""
UPPER_HALF = "▀"
_ANSI_PALETTE = bytes.fromhex(
    "000000 aa0000 00aa00 aa5500 0000aa aa00aa 00aaaa aaaaaa 555555 ff5555 55ff55 ffff55 5555ff ff55ff 55ffff ffffff"
)
"""The colours that rich takes a terminal of sixteen colours to have."""

_graphics: type[Widget] | None = None


def detect_graphics() -> bool:
    """Ask the terminal whether it shows pixels; call this before the app starts. `DIPDDPM_GRAPHICS` 1 or 0 decides.

    Takes up to half a second where the terminal is asked, and nothing where it isn't.
    """
    global _graphics  # noqa: PLW0603
    wanted = os.environ.get("DIPDDPM_GRAPHICS", "")
    if wanted == "0" or not (wanted or may_have_graphics(os.environ)):
        return False
    try:
        from textual_image.renderable import Image as Best
        from textual_image.renderable import SixelImage, TGPImage
        from textual_image.widget import Image as Found
    except (ImportError, OSError):
        return False
    if Best in {SixelImage, TGPImage}:
        _graphics = Found
    return _graphics is not None


class PictureFile(NamedTuple):
    """A picture that the log of a run names."""

    folder: Path
    """The run's."""
    file: str

    def path(self) -> Path | None:
        """The file; None for one that lies outside the run's folder, or is no PNG. Reads the disk."""
        try:
            folder = self.folder.resolve()
            path = (folder / self.file).resolve()
        except (OSError, ValueError, RuntimeError):
            return None
        return path if path.is_relative_to(folder) and path.suffix == ".png" else None


class Loaded(NamedTuple):
    """What came of reading a picture: an image, or words on what is wrong with it, and the version of the file."""

    image: Image | None
    trouble: str
    version: object


class PictureView(LinesWidget):
    """A caption, and below it one picture as large as fits."""

    DEFAULT_CSS = """
    PictureView {
        height: 1fr;
        & > .picture--caption { color: $foreground 80%; }
        & > .picture--trouble { color: $warning; }
        & > Image { width: 100%; height: 1fr; margin-top: 1; }
    }
    """

    _image: Image | None = None
    _caption = ""
    _trouble = ""
    _shown: object = None
    _wanted: tuple[PictureFile | None, str] = (None, "")
    _reading = False
    _pixels: Any = None

    def compose(self) -> ComposeResult:
        """Where the terminal shows pixels, a widget that does."""
        if _graphics is not None:
            self._pixels = _graphics(classes="picture--pixels")
            yield self._pixels

    def show(self, source: PictureFile, caption: str) -> None:
        """Show a PNG file, which is read again if it changed.

        It is read and decoded beside the screen; until then what is shown stays, unless it is another run's.
        """
        before, _ = self._wanted
        self._wanted = source, printable(caption, 300)
        if before is not None and before.folder != source.folder:
            self._place(None, "", None)
        self._read()

    def _read(self) -> None:
        """Read the wanted file, one at a time: while one is being read, the next waits."""
        source, caption = self._wanted
        if self._reading or source is None:
            return
        self._reading = True
        shown = self._shown

        def load_if_changed() -> Loaded | None:
            path = source.path()
            if path is None:
                return Loaded(None, "There is no such picture.", None)
            version = _file_version(path), caption
            if version == shown:
                return None
            try:
                return Loaded(load(path), "", version)
            except UserError as error:
                return Loaded(None, str(error), version)

        def place(loaded: Loaded | None) -> None:
            self._reading = False
            if self._wanted != (source, caption):
                self._read()
            elif loaded is not None and self.is_attached:
                self._place(*loaded)

        run_in_background(self.app, load_if_changed, place, lambda error: place(Loaded(None, str(error), None)))

    def _place(self, image: Image | None, trouble: str, version: object) -> None:
        self._image, self._trouble, self._shown = image, trouble, version
        self._caption = self._wanted[1]
        if self._pixels is not None:
            self._pixels.image = image
        self.redraw()

    def draw(self, width: int, height: int) -> list[list[Segment]]:
        """The caption, and the picture in characters unless it is shown in pixels."""
        lines = [[Segment(self._caption, self.component_style("picture--caption"))]]
        if self._trouble:
            told = wrapped(printable(self._trouble), width)
            return lines + [[Segment(line, self.component_style("picture--trouble"))] for line in told]
        if self._image is None or self._pixels is not None or height < 2:
            return lines
        colours = None if self.app.no_color else self.app.console.color_system
        return [*lines, *characters(self._image, width, height - 1, colours)]


def load(path: Path) -> Image:
    """A PNG file, which anybody may have put there. Raises UserError, in a sentence, for all that can be wrong."""
    from PIL import Image as Images

    name = printable(path.name, 100)
    try:
        with atomic.open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise UserError(f"{name} is no picture of a run.", f"A PNG of at most {MAX_BYTES >> 20} MB is shown.")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Images.DecompressionBombWarning)  # it is refused below
                image = Images.open(file, formats=["PNG"])
            if image.width * image.height > MAX_PIXELS:
                raise Images.DecompressionBombError
            return image.convert("RGB")
    except Images.DecompressionBombError:
        raise UserError(f"{name} has too many pixels.", "A picture of a run has a few thousand.") from None
    except FileNotFoundError:
        raise UserError(f"{name} is not there.", "It may have been removed.") from None
    except UserError:
        raise
    except Exception as error:  # on broken files Pillow's decoders raise almost anything
        why = getattr(error, "strerror", None) or "it is damaged, or no PNG"
        raise UserError(f"{name} can't be shown: {why}.", "The run may still be writing it.") from None


def characters(image: Image, columns: int, rows: int, colours: str | None) -> list[list[Segment]]:
    """The image in at most so many cells, its shape kept: two pixels a cell, one above the other.

    `colours` is rich's name of the colour system; without one, each cell holds its grey value as a digit, 9 is white.
    """
    image = image.convert("RGB")
    if colours is None:
        return _digits(_scaled(image, columns, 2 * rows, halved=True))
    small = _scaled(image, columns, 2 * rows)
    if colours == "standard":
        small = _dithered(small)
    return _half_blocks(small)


def _scaled(image: Image, width: int, height: int, *, halved: bool = False) -> Image:
    """As large as fits. Enlarged by whole factors and not blurred, so that single pixels can be seen."""
    from PIL.Image import Resampling

    factor = min(width / image.width, height / image.height)
    if factor > 1:
        factor = int(factor)
    across, down = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    filtering = Resampling.BOX if factor < 1 else Resampling.NEAREST
    return image.resize((across, max(1, down // 2) if halved else down), filtering)


def _dithered(image: Image) -> Image:
    """In the sixteen colours of a simple terminal; mixed, since only four of them are greys."""
    from PIL import Image as Images

    palette = Images.new("P", (1, 1))
    palette.putpalette(_ANSI_PALETTE)
    return image.quantize(palette=palette, dither=Images.Dither.FLOYDSTEINBERG).convert("RGB")


def _half_blocks(image: Image) -> list[list[Segment]]:
    pixels = image.tobytes()
    width = image.width
    styles: dict[bytes, Style] = {}
    lines = []
    for top in range(0, image.height, 2):
        line = []
        for column in range(width):
            at = 3 * (top * width + column)
            upper = pixels[at : at + 3]
            lower = pixels[at + 3 * width : at + 3 * width + 3]
            pair = upper + lower
            if pair not in styles:
                background = Color.from_rgb(*lower) if lower else None
                styles[pair] = Style.from_color(Color.from_rgb(*upper), background)
            line.append(Segment(UPPER_HALF, styles[pair]))
        lines.append(list(Segment.simplify(line)))
    return lines


def _digits(image: Image) -> list[list[Segment]]:
    grey, width = image.convert("L").tobytes(), image.width
    rows = (grey[start : start + width] for start in range(0, len(grey), width))
    return [[Segment("".join(str(value * 10 // 256) for value in row))] for row in rows]


def _file_version(path: Path) -> tuple[str, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return str(path), status.st_mtime_ns, status.st_size
