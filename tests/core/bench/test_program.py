from __future__ import annotations

from dipddpm.core.bench import program


def test_a_log_is_told_beside_the_training_and_by_itself() -> None:
    bare, logged, told, stored = program.event_log(steps=2, repeats=2)
    assert {row.against for row in (bare, logged, told, stored)} == {bare.name}
    assert told.seconds > 0
    assert stored.seconds > 0
    assert told.seconds + stored.seconds < logged.seconds + logged.spread
