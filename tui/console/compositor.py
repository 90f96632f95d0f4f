"""Textual's compositor, made to send only the cells that changed.

Textual (8.2) knows which part of a line is to be repainted, and then sends the line from the left edge of the widget up
to there. Over a slow link that is most of what a growing chart costs: its changes are at the right end.
The compositor is private to Textual: nothing else of the console uses it, and another major version is refused.
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
    """An update cropped on both sides."""

    def render_segments(self, console: Console) -> str:
        """What is written to the terminal: for each span, a cursor move and its cells."""
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
    """Takes the place of a screen's own compositor; see `use_cell_compositor`."""

    def render_partial_update(self) -> ChopsUpdate | None:
        """The parts of the screen that need painting."""
        update = super().render_partial_update()
        return update and CellUpdate(update.chops, update.spans, update.chop_ends)


def use_cell_compositor(screen: Screen[None]) -> None:
    """Have this screen send only the cells that changed. Call it where the screen is made."""
    screen._compositor = CellCompositor()


def screen_text(screen: Screen[object]) -> str:
    """The text that stands on this screen."""
    return "\n".join(strip.text.rstrip() for strip in screen._compositor.render_strips())
