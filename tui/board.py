"""The scoreboard of a run that has restored images, as lines of text."""

from __future__ import annotations

from core.runs import Run
from core.scores import Scoreboard
from core.text import printable


def board_of(run: Run) -> list[str]:
    """The tables and what comes of them; empty for a run that has scored nothing."""
    return [printable(line) for line in Scoreboard(run.events()).lines()]
