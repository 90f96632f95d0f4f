"""A stage for one widget: an app with our theme and nothing else."""

from __future__ import annotations

import contextlib

import pytest
from textual.app import App
from textual.screen import Screen

from dipddpm.tui.console.compositor import CellCompositor
from dipddpm.tui.console.themes import THEMES


class StageScreen(Screen):
    """As the console's own."""

    def __init__(self):
        super().__init__()
        self._compositor = CellCompositor()


class Stage(App):
    """Shows one widget, in a terminal of the colours asked for, and keeps what is written to it."""

    CSS = "Screen { layout: vertical; overflow: hidden; }"

    def __init__(self, widget, theme="night"):
        super().__init__()
        for known in THEMES.values():
            self.register_theme(known)
        self.theme = theme
        self.widget = widget

    def get_default_screen(self):
        return StageScreen()

    def compose(self):
        yield self.widget

    def lines(self):
        """The text on the screen."""
        return [strip.text.rstrip() for strip in self.screen._compositor.render_strips()]

    def styled(self, text):
        """The styles in which a text stands on the screen."""
        return [
            segment.style
            for strip in self.screen._compositor.render_strips()
            for segment in strip
            if text in segment.text
        ]


@pytest.fixture
def stage(monkeypatch):
    """`async with stage(widget, size) as (app, pilot)`."""
    monkeypatch.delenv("NO_COLOR", raising=False)

    @contextlib.asynccontextmanager
    async def show(widget, size=(80, 24), theme="night"):
        app = Stage(widget, theme)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            yield app, pilot

    return show


@pytest.fixture
def repainted(monkeypatch):
    """The cells that widgets asked to have painted again since it was last emptied; None for all of a widget."""
    from dipddpm.tui.console.widgets.lines import LinesWidget

    asked = []
    refresh = LinesWidget.refresh

    def noting(self, *regions, **options):
        asked.append(sum(region.area for region in regions) if regions else None)
        return refresh(self, *regions, **options)

    monkeypatch.setattr(LinesWidget, "refresh", noting)
    return asked
