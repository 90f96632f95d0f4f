from __future__ import annotations

import sys

import pytest

from dipddpm.core.bench import console

TUI = [sys.executable, "-P", "-c", "from dipddpm.tui.console.__main__ import main; main()"]


@pytest.mark.slow
def test_the_console_is_measured_from_outside() -> None:
    bare, started = console.start(TUI, counts=(3,), repeats=1)
    assert bare.ratio == 1
    assert started.name == "console, 3 runs"
    assert started.seconds > 0
    idle = console.idle(TUI, count=3, seconds=1.0)
    assert 0 <= idle.cpu < 1
    assert idle.memory > 10
    assert idle.exit_seconds > 0


def test_a_program_that_shows_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PATIENCE", 0.3)
    with (
        console._Terminal([sys.executable, "-c", "pass"]) as terminal,
        pytest.raises(TimeoutError, match="didn't show"),
    ):
        terminal.until(b"never")
