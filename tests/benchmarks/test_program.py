from __future__ import annotations

from benchmarks import program


def test_event_log_times_writing_separately() -> None:
    unlogged, logged, events, files = program.event_log(steps=2, repeats=1)
    assert {row.against for row in (unlogged, logged, events, files)} == {unlogged.name}
    assert events.seconds > 0
    assert files.seconds > 0
    assert events.seconds + files.seconds < logged.seconds, "both are parts of this one training"
