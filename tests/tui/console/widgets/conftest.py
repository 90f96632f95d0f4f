"""A stage for one widget: an app with the console's themes and nothing else."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from rich.style import Style
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

from dipddpm.tui.console.compositor import CellCompositor
from dipddpm.tui.console.themes import THEMES
from tests.tui.driving import until_idle


class StageScreen(Screen[None]):
    """A screen that sends only changed cells, like the console's main screen."""

    def __init__(self) -> None:
        super().__init__()
        self._compositor = CellCompositor()


class Stage(App[None]):
    """An app that shows one widget."""

    CSS = "Screen { layout: vertical; overflow: hidden; }"

    def __init__(self, widget: Widget, theme: str = "night") -> None:
        super().__init__()
        for known in THEMES.values():
            self.register_theme(known)
        self.theme = theme
        self.widget = widget

    def get_default_screen(self) -> Screen[None]:
        return StageScreen()

    def compose(self) -> ComposeResult:
        yield self.widget

    def lines(self) -> list[str]:
        """Return the lines of text on the screen."""
        return [strip.text.rstrip() for strip in self.screen._compositor.render_strips()]

    def styled(self, text: str) -> list[Style]:
        """Return the styles in which a text is shown on the screen."""
        return [
            segment.style
            for strip in self.screen._compositor.render_strips()
            for segment in strip
            if segment.style is not None and text in segment.text
        ]


OpenStage = Callable[..., AbstractAsyncContextManager[tuple[Stage, Pilot[None]]]]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> OpenStage:
    """Open an app with one widget.

    Use it as `async with stage(widget, size) as (app, pilot)`.
    """
    monkeypatch.delenv("NO_COLOR", raising=False)

    @contextlib.asynccontextmanager
    async def show(
        widget: Widget, size: tuple[int, int] = (80, 24), theme: str = "night"
    ) -> AsyncIterator[tuple[Stage, Pilot[None]]]:
        app = Stage(widget, theme)
        async with app.run_test(size=size) as pilot:
            await until_idle(pilot)
            yield app, pilot

    return show


@pytest.fixture
def repainted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record how many cells each refresh repaints; infinite for a whole widget."""
    from dipddpm.tui.console.widgets.lines import LinesWidget

    areas: list[float] = []
    refresh = LinesWidget.refresh

    def noting(self: LinesWidget, *regions: Region, **options: Any) -> Any:
        areas.append(sum(region.area for region in regions) if regions else math.inf)
        return refresh(self, *regions, **options)

    monkeypatch.setattr(LinesWidget, "refresh", noting)
    return areas
