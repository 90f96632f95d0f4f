from __future__ import annotations

import sys

import pytest

from benchmarks import console
from tests.helpers import PATIENCE_SECONDS


@pytest.mark.slow
def test_console_benchmark_measures_start_up_and_idle_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    bare, started = console.start(console.CONSOLE, counts=(3,), repeats=1)
    assert bare.ratio == 1
    assert started.name == "console, 3 runs"
    assert started.seconds > 0
    idle = console.idle(console.CONSOLE, count=3, seconds=1.0)
    assert idle.cpu >= 0
    assert idle.memory > 10
    assert idle.exit_seconds > 0


def test_terminal_read_until_times_out_without_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PATIENCE_SECONDS", 0.3)
    with (
        console._Terminal([sys.executable, "-c", "pass"]) as terminal,
        pytest.raises(TimeoutError, match="didn't show"),
    ):
        terminal.read_until(b"never")
