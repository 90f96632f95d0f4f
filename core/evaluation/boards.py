"""The board of a run's results: the scoreboard, the comparison of starts, or the map of gains. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable

from dipddpm.core.evaluation.acceleration import AccelerationBoard, Variant
from dipddpm.core.evaluation.gain_map import MapBoard, split
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import Event, RestorationMissing, RestorationScored


def board_of(history: Iterable[Event]) -> Scoreboard:
    """Return the board that suits the rows of a log; the scoreboard for a log without results."""
    scored = [event for event in history if isinstance(event, RestorationScored | RestorationMissing)]
    if any(Variant.parse(event.method) for event in scored):
        return AccelerationBoard(scored)
    return MapBoard(scored) if any(split(event.method)[1] for event in scored) else Scoreboard(scored)
