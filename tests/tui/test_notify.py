from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core import events
from core.runs import EventLog, State
from tests.tui.driving import Maker, Opener
from tui import notify
from tui.model.runlist import RunRow
from tui.notify import News, Watch


def row(state: State, *, stalled: bool = False, name: str = "boots") -> RunRow:
    return RunRow(id="20261123-094512-dip-3f9a", kind="dip", name=name, state=state, stalled=stalled)


def test_what_had_ended_before_is_no_news() -> None:
    assert Watch().look([row(State.finished)]) == []


@pytest.mark.parametrize(
    ("state", "words"), [(State.finished, "is done"), (State.failed, "failed"), (State.crashed, "crashed")]
)
def test_an_end_is_told_once(state: State, words: str) -> None:
    watch = Watch()
    watch.look([row(State.running)])
    (news,) = watch.look([row(state)])
    assert news.text == f"boots {words}"
    assert watch.look([row(state)]) == []


def test_a_stall_is_told_once_and_again_after_it_got_on() -> None:
    watch = Watch()
    told = [
        bool(watch.look([row(State.running, stalled=stalled)])) for stalled in (False, True, True, False, True, False)
    ]
    assert told == [False, True, False, False, True, False]


def test_a_resumed_run_is_told_of_anew() -> None:
    watch = Watch()
    for state in (State.running, State.stopped, State.running):
        watch.look([row(state)])
    assert watch.look([row(State.finished)])


def test_a_name_cannot_end_the_escape_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    code = notify.escape_codes(News("id", "finished", "evil\x1b\\\x07;name is done"))
    assert code.startswith("\x07\x1b]9;")
    assert code.endswith("\x1b\\")
    assert code.count("\x1b") == 2
    assert code.count("\x07") == 1


def test_tmux_hands_the_code_on_in_its_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMUX", "/tmp/tmux")
    assert "\x1bPtmux;\x1b\x1b]9;" in notify.escape_codes(News("id", "finished", "boots is done"))


def test_the_hook_is_told_what_happened(tmp_path: Path, until: Callable[..., Any]) -> None:
    file = tmp_path / "told"
    notify.call_hook(
        f'echo "$DIPDDPM_STATE $DIPDDPM_TEXT" > {file}.new && mv {file}.new {file}', News("i", "failed", "x failed")
    )
    until(file.exists)
    assert file.read_text() == "failed x failed\n"


async def test_the_console_tells_of_an_end(opened: Opener, make: Maker) -> None:
    run = make(name="boots", state="running")
    async with opened() as driver:
        log = EventLog(run.folder)
        log.append(events.RunFinished(seconds=1.0, time=time.time()))
        log.close()
        await driver.until(lambda: "boots is done" in driver.told(), "the notice")


def test_what_happens_to_a_group_at_once_is_told_once() -> None:
    happened = [
        *(notify.News(f"id{n}", "stopped", f"run {n} was stopped", "g") for n in range(3)),
        notify.News("other", "stopped", "other was stopped"),
        notify.News("another", "stopped", "another was stopped"),
        notify.News("id9", "failed", "run 9 failed", "g"),
        notify.News("a", "failed", "a failed", "h"),
        notify.News("b", "failed", "b failed", "h"),
    ]
    assert [news.text for news in notify.together(happened)] == [
        "3 runs of g were stopped",
        "other was stopped",
        "another was stopped",
        "run 9 failed",
        "2 runs of h failed",
    ]
