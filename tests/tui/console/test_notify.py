from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dipddpm.core import events
from dipddpm.core.runs import EventLog, RunState
from dipddpm.tui.console import notify
from dipddpm.tui.console.notify import StateChange, StateWatcher
from dipddpm.tui.shared.runlist import RunRow
from tests.tui.driving import Maker, Opener


def row(state: RunState, *, stalled: bool = False, name: str = "boots") -> RunRow:
    return RunRow(id="20261123-094512-dip-3f9a", kind="dip", name=name, state=state, stalled=stalled)


def test_state_watcher_ignores_runs_ended_before() -> None:
    assert StateWatcher().changes([row(RunState.finished)]) == []


@pytest.mark.parametrize(
    ("state", "words"), [(RunState.finished, "is done"), (RunState.failed, "failed"), (RunState.crashed, "crashed")]
)
def test_state_watcher_reports_end_once(state: RunState, words: str) -> None:
    watch = StateWatcher()
    watch.changes([row(RunState.running)])
    (change,) = watch.changes([row(state)])
    assert change.text == f"boots {words}"
    assert watch.changes([row(state)]) == []


def test_state_watcher_reports_each_stall_once() -> None:
    watch = StateWatcher()
    reported = [
        bool(watch.changes([row(RunState.running, stalled=stalled)]))
        for stalled in (False, True, True, False, True, False)
    ]
    assert reported == [False, True, False, False, True, False]


def test_state_watcher_reports_end_of_resumed_run() -> None:
    watch = StateWatcher()
    for state in (RunState.running, RunState.stopped, RunState.running):
        watch.changes([row(state)])
    assert watch.changes([row(RunState.finished)])


def test_escape_codes_survive_escapes_in_run_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    code = notify.escape_codes(StateChange("id", "finished", "evil\x1b\\\x07;name is done"))
    assert code.startswith("\x07\x1b]9;")
    assert code.endswith("\x1b\\")
    assert code.count("\x1b") == 2
    assert code.count("\x07") == 1


def test_escape_codes_are_wrapped_for_tmux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMUX", "/tmp/tmux")
    assert "\x1bPtmux;\x1b\x1b]9;" in notify.escape_codes(StateChange("id", "finished", "boots is done"))


def test_call_hook_passes_state_and_text(tmp_path: Path, until: Callable[..., Any]) -> None:
    file = tmp_path / "hook-output"
    notify.call_hook(
        f'echo "$DIPDDPM_STATE $DIPDDPM_TEXT" > {file}.new && mv {file}.new {file}',
        StateChange("i", "failed", "x failed"),
    )
    until(file.exists)
    assert file.read_text() == "failed x failed\n"


async def test_console_notifies_of_run_end(opened: Opener, make: Maker) -> None:
    run = make(name="boots", state="running")
    async with opened() as driver:
        log = EventLog(run.folder)
        log.append(events.RunFinished(seconds=1.0, time=time.time()))
        log.close()
        await driver.until(lambda: "boots is done" in driver.notifications(), "the notice")


def test_merge_by_group_joins_equal_changes_of_group() -> None:
    changes = [
        *(notify.StateChange(f"id{n}", "stopped", f"run {n} was stopped", "g") for n in range(3)),
        notify.StateChange("other", "stopped", "other was stopped"),
        notify.StateChange("another", "stopped", "another was stopped"),
        notify.StateChange("id9", "failed", "run 9 failed", "g"),
        notify.StateChange("a", "failed", "a failed", "h"),
        notify.StateChange("b", "failed", "b failed", "h"),
    ]
    assert [change.text for change in notify.merge_by_group(changes)] == [
        "3 runs of g were stopped",
        "other was stopped",
        "another was stopped",
        "run 9 failed",
        "2 runs of h failed",
    ]
