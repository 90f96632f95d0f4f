"""The scoreboard of a run that has restored images, as lines of text."""

from __future__ import annotations

from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import Run


def scoreboard_lines(run: Run) -> list[str]:
    """The tables and what comes of them; empty for a run that has scored nothing."""
    return [printable(line) for line in Scoreboard(run.events()).lines()]
