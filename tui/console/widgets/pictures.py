"""A picture in the terminal: half blocks in the terminal's colours, or grey values as digits if it has no colours.

If the terminal can show real pixels (Kitty's protocol, Sixel) and the extra `dipddpm[images]` is installed, pixels are
used instead; `detect_graphics` must query the terminal before the app reads from it.
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
"""Size of the largest picture decoded; a run's pictures are a thousand times smaller."""
UPPER_HALF = "▀"
_ANSI_PALETTE = bytes.fromhex(
    "000000 aa0000 00aa00 aa5500 0000aa aa00aa 00aaaa aaaaaa 555555 ff5555 55ff55 ffff55 5555ff ff55ff 55ffff ffffff"
)
"""The RGB values that rich assumes for a terminal's sixteen colours."""

_graphics: type[Widget] | None = None


def detect_graphics() -> bool:
    """Return whether the terminal shows pixels, and use them if so. Call this before the app starts.

    `DIPDDPM_GRAPHICS=0` disables pixels. The terminal is queried, which takes up to half a second, only if its
    environment variables suggest that it shows pixels or if `DIPDDPM_GRAPHICS=1`.
    """
    global _graphics  # noqa: PLW0603
    wanted = os.environ.get("DIPDDPM_GRAPHICS", "")
    if wanted == "0" or not (wanted or may_have_graphics(os.environ)):
        return False
    try:
        from textual_image.renderable import Image as Best
        from textual_image.renderable import SixelImage, TGPImage
        from textual_image.widget import Image as PixelImage
    except (ImportError, OSError):
        return False
    if Best in {SixelImage, TGPImage}:
        _graphics = PixelImage
    return _graphics is not None


class PictureFile(NamedTuple):
    """A picture named in a run's log."""

    folder: Path
    """The run's folder."""
    file: str
    columns: tuple[int, int, int] = (0, 1, 1)
    """The part to show: the columns of the picture from the first to the second, of the third in all."""

    def path(self) -> Path | None:
        """Return the file's path; None if it lies outside the run's folder or is no PNG. Reads the disk."""
        try:
            folder = self.folder.resolve()
            path = (folder / self.file).resolve()
        except (OSError, ValueError, RuntimeError):
            return None
        return path if path.is_relative_to(folder) and path.suffix == ".png" else None


class Loaded(NamedTuple):
    """The result of reading a picture: an image or an error in a sentence, and the version of the file."""

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
        """Add a widget for pixels if the terminal shows them."""
        if _graphics is not None:
            self._pixels = _graphics(classes="picture--pixels")
            yield self._pixels

    def show(self, source: PictureFile, caption: str) -> None:
        """Show a PNG file; it is read again only if it changed.

        It is read and decoded in the background; meanwhile the previous picture stays, unless it is another run's.
        """
        before, _ = self._wanted
        self._wanted = source, printable(caption, 300)
        if before is not None and before.folder != source.folder:
            self._display(None, "", None)
        self._read()

    def _read(self) -> None:
        """Read the wanted file in the background, after the file that is being read, if any."""
        source, caption = self._wanted
        if self._reading or source is None:
            return
        self._reading = True
        shown = self._shown

        def load_if_changed() -> Loaded | None:
            path = source.path()
            if path is None:
                return Loaded(None, "The picture isn't a PNG file in the run's folder.", None)
            version = _file_version(path), caption, source.columns
            if version == shown:
                return None
            try:
                return Loaded(_part(load(path), source.columns), "", version)
            except UserError as error:
                return Loaded(None, str(error), version)

        def display(loaded: Loaded | None) -> None:
            self._reading = False
            if self._wanted != (source, caption):
                self._read()
            elif loaded is not None and self.is_attached:
                self._display(*loaded)

        run_in_background(self.app, load_if_changed, display, lambda error: display(Loaded(None, str(error), None)))

    def _display(self, image: Image | None, trouble: str, version: object) -> None:
        self._image, self._trouble, self._shown = image, trouble, version
        self._caption = self._wanted[1]
        if self._pixels is not None:
            self._pixels.image = image
        self.redraw()

    def draw(self, width: int, height: int) -> list[list[Segment]]:
        """Return the caption, and the picture as characters unless it is shown in pixels."""
        caption = wrapped(self._caption, width)[: 3 if self._pixels is None else 1] or [""]
        lines = [[Segment(line, self.component_style("picture--caption"))] for line in caption]
        if self._trouble:
            trouble_lines = wrapped(printable(self._trouble), width)
            return lines + [[Segment(line, self.component_style("picture--trouble"))] for line in trouble_lines]
        if self._image is None or self._pixels is not None or height <= len(lines):
            return lines
        colours = None if self.app.no_color else self.app.console.color_system
        return [*lines, *characters(self._image, width, height - len(lines), colours)]


def load(path: Path) -> Image:
    """Read an untrusted PNG file. Raises UserError if it can't be read or is too large."""
    from PIL import Image as Images

    name = printable(path.name, 100)
    try:
        with atomic.open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise UserError(f"{name} is too large to show.", f"Pictures may have up to {MAX_BYTES >> 20} MB.")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Images.DecompressionBombWarning)  # a larger image is refused below
                image = Images.open(file, formats=["PNG"])
            if image.width * image.height > MAX_PIXELS:
                raise Images.DecompressionBombError
            return image.convert("RGB")
    except Images.DecompressionBombError:
        limit = MAX_PIXELS // 1_000_000
        raise UserError(f"{name} has too many pixels.", f"Pictures may have up to {limit} million.") from None
    except FileNotFoundError:
        raise UserError(f"{name} doesn't exist.", "It may have been removed.") from None
    except UserError:
        raise
    except Exception as error:  # on broken files Pillow's decoders raise almost anything
        why = getattr(error, "strerror", None) or "the file is damaged or no PNG"
        raise UserError(f"{name} can't be shown: {why}.", "The run may still be writing it.") from None


def _part(image: Image, columns: tuple[int, int, int]) -> Image:
    """Return these columns of a picture, all of which are equally wide."""
    first, last, count = columns
    return image.crop((image.width * first // count, 0, image.width * last // count, image.height))


def characters(image: Image, columns: int, rows: int, colours: str | None) -> list[list[Segment]]:
    """Return the image in at most `columns` by `rows` cells, in its proportions: two pixels per cell, stacked.

    `colours` is rich's name of the colour system. If it is None, each cell is a digit for its grey value: 9 is white.
    """
    image = image.convert("RGB")
    if colours is None:
        return _digits(_scaled(image, columns, 2 * rows, halved=True))
    small = _scaled(image, columns, 2 * rows)
    if colours == "standard":
        small = _dithered(small)
    return _half_blocks(small)


def _scaled(image: Image, width: int, height: int, *, halved: bool = False) -> Image:
    """Scale an image to fit; it is enlarged by integer factors without blur, so that single pixels are visible."""
    from PIL.Image import Resampling

    factor = min(width / image.width, height / image.height)
    if factor > 1:
        factor = int(factor)
    across, down = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    filtering = Resampling.BOX if factor < 1 else Resampling.NEAREST
    return image.resize((across, max(1, down // 2) if halved else down), filtering)


def _dithered(image: Image) -> Image:
    """Convert an image to the sixteen ANSI colours; dithered, since only four of them are greys."""
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
