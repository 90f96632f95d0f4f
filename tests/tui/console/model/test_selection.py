from __future__ import annotations

from dipddpm.tui.console.model.curves import SERIES_COLOURS
from dipddpm.tui.console.model.views import toggle_mark


def test_toggle_mark_gives_the_first_free_colour_and_keeps_the_others() -> None:
    marked: dict[str, int] = {}
    assert all(toggle_mark(marked, run) for run in ("a", "b", "c", "b"))
    assert marked == {"a": 0, "c": 2}
    assert toggle_mark(marked, "d")
    assert marked == {"a": 0, "c": 2, "d": 1}


def test_toggle_mark_refuses_one_run_too_many() -> None:
    marked = {f"run {colour}": colour for colour in range(SERIES_COLOURS)}
    assert not toggle_mark(marked, "one more")
    assert len(marked) == SERIES_COLOURS
