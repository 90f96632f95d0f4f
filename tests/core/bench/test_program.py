from __future__ import annotations

from core.bench import program


def test_a_log_is_told_beside_the_training_and_by_itself() -> None:
    bare, logged, writing = program.event_log(steps=2, repeats=2)
    assert bare.name == logged.against == writing.against
    assert 0 < writing.seconds < logged.seconds
    assert writing.repeats == 2
