"""Every pane draws every kind of run in every size of the terminal, down to one cell."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.io.sanitize import wrapped
from dipddpm.core.runs import Run, RunsFolder
from dipddpm.tui.console.model.views import View
from dipddpm.tui.console.panes.live import LivePane
from dipddpm.tui.console.panes.view import Pane
from dipddpm.tui.console.preferences import PANES
from dipddpm.tui.console.widgets.feed import Feed
from dipddpm.tui.console.widgets.lines import LinesWidget
from tests.tui.driving import Maker, Opener

SHIPPED = sorted((Path(__file__).parents[2] / "core" / "assets" / "reference-runs").iterdir())
KINDS = {folder.name.split("-")[2]: folder for folder in SHIPPED}
"""kind -> a reference run of this kind."""
TINY = [(1, 1), (20, 5), (80, 24)]
WIDTHS, HEIGHTS = (1, 2, 3, 5, 8, 12, 30), (1, 2, 5)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the errors caught by panes and widgets."""
    caught: list[str] = []

    def note(widget: object, error: Exception) -> str:
        caught.append(f"{widget!r}: {error!r}")
        return "caught"

    monkeypatch.setattr("dipddpm.tui.console.widgets.lines.report", note)
    monkeypatch.setattr("dipddpm.tui.console.panes.view.report", note)
    return caught


@pytest.mark.parametrize("folder", KINDS.values(), ids=KINDS)
async def test_panes_draw_reference_runs_at_every_size(
    opened: Opener, runs: RunsFolder, folder: Path, faults: list[str]
) -> None:
    shutil.copytree(folder, runs.root / folder.name, ignore=shutil.ignore_patterns("checkpoints"))
    async with opened() as driver:
        await driver.press("m")
        for key, pane in enumerate(PANES, start=1):
            await driver.press(str(key))
            await driver.until(lambda pane=pane: driver.main.query(f"#pane-{pane}"), pane)  # type: ignore[misc]
            for size in TINY:
                await driver.resize(*size)
                driver.main.present()
                driver.text()
            for widget in driver.main.query_one(f"#pane-{pane}").query(LinesWidget):
                for width, height in itertools.product(WIDTHS, HEIGHTS):
                    widget.draw(width, height)
        assert faults == []


def test_scoreboard_keeps_its_lines_at_every_width() -> None:
    restored = next(folder for folder in SHIPPED if "-restore-" in folder.name)
    board = Scoreboard(Run(restored).events())
    whole = board.lines(400)
    for width in range(-5, 100):
        lines = board.lines(width)
        assert len(lines) >= len(whole)


def test_wrapped_breaks_words_without_room() -> None:
    for width in range(-3, 2):
        assert wrapped("ab c", width) == ["a", "b", "c"]
    assert wrapped("one two", 5, "  ") == ["one", "  two"]


async def test_pane_shows_draw_error_and_recovers(opened: Opener, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    make(name="fine")
    present = LivePane.present

    def broken(self: Pane, view: View) -> None:
        raise ValueError("[red]invalid width -2")

    async with opened() as driver:
        monkeypatch.setattr(LivePane, "present", broken)
        driver.main.present()
        await driver.until_seen("This can't be drawn: ValueError: [red]invalid width -2")
        monkeypatch.setattr(LivePane, "present", present)
        driver.main.present()
        await driver.settle()
        assert "can't be drawn" not in driver.text()


async def test_widget_shows_draw_error_while_other_widgets_work(
    opened: Opener, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(name="fine")
    async with opened() as driver:
        monkeypatch.setattr(Feed, "draw", lambda self, width, height: 1 / 0)
        await driver.resize(100, 30)
        await driver.until_seen("This can't be drawn: ZeroDivisionError")
        assert "loss" in driver.text()


@pytest.mark.parametrize("key", ["n", "question_mark", "e", "T", "slash"])
async def test_dialogs_settle_at_every_size(opened: Opener, make: Maker, key: str) -> None:
    make(name="fine")
    async with opened() as driver:
        await driver.press(key)
        for size in (*TINY, (1, 5), (2, 1), (3, 2), (4, 10), (6, 3)):
            await driver.resize(
                *size
            )  # fails if a layout never settles, for example because a scroll bar comes and goes
