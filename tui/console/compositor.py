"""A variant of Textual's compositor that sends only the cells that changed.

Textual (8.2) knows which part of a line must be repainted, but sends the line from the left edge of the widget up to
that part. Over a slow link this is most of the cost of a growing chart, which changes at its right end.
The compositor is private to Textual: no other module uses it, and importing this one fails with another major version.
"""

from __future__ import annotations

import textual
from rich.console import Console
from rich.control import Control
from textual._compositor import ChopsUpdate, Compositor
from textual.screen import Screen

TEXTUAL_MAJOR = "8"
if textual.__version__.partition(".")[0] != TEXTUAL_MAJOR:
    raise ImportError(f"The console is made for Textual {TEXTUAL_MAJOR}, and this is {textual.__version__}.")


class CellUpdate(ChopsUpdate):
    """A screen update cropped to the changed cells, on the left as well as on the right."""

    def render_segments(self, console: Console) -> str:
        """Return the text to write to the terminal: for each span, a cursor move and the cells."""
        written: list[str] = []
        for y, first, last in self.spans:
            for end, (start, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                left, right = max(start, first), min(end, last)
                if strip is not None and left < right:
                    written += [
                        Control.move_to(left, y).segment.text,
                        strip.crop(left - start, right - start).render(console),
                    ]
        return "".join(written)


class CellCompositor(Compositor):
    """The compositor that `use_cell_compositor` gives to a screen."""

    def render_partial_update(self) -> ChopsUpdate | None:
        """Return the parts of the screen that need painting, or None."""
        update = super().render_partial_update()
        return update and CellUpdate(update.chops, update.spans, update.chop_ends)


def use_cell_compositor(screen: Screen[None]) -> None:
    """Make this screen send only the cells that changed. Call this in the screen's `__init__`."""
    screen._compositor = CellCompositor()


def screen_text(screen: Screen[object]) -> str:
    """Return the text shown on this screen."""
    return "\n".join(strip.text.rstrip() for strip in screen._compositor.render_strips())
