"""Notifications that a run has ended, failed or stalled: bell, desktop notification, hook."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import RunState
from dipddpm.tui.shared.columns import run_title
from dipddpm.tui.shared.runlist import RunRow


class StateChange(NamedTuple):
    """A change of a run's state that the user is notified of."""

    run: str
    state: str
    text: str
    group: str = ""


STATE_PHRASES: dict[str, str] = {
    RunState.finished: "is done",
    RunState.failed: "failed",
    RunState.crashed: "crashed",
    RunState.stopped: "was stopped",
}

PLURAL_PHRASES: dict[str, str] = {RunState.finished: "are done", RunState.stopped: "were stopped"}
"""state -> its phrase for several runs, if it differs."""


class StateWatcher:
    """Compares the runs' states with the previous ones. Runs that had ended at the first comparison are ignored."""

    def __init__(self) -> None:
        self._was_stalled: dict[str, bool] = {}
        """run -> whether it was stalled, for the runs live at the last comparison."""

    def changes(self, rows: Iterable[RunRow]) -> list[StateChange]:
        """Return the changes of state since the last call."""
        changes = []
        for row in rows:
            was_stalled = self._was_stalled.get(row.id)
            if row.state.live:
                if row.stalled and was_stalled is False:
                    changes.append(StateChange(row.id, "stalled", f"{run_title(row)} is alive but makes no progress"))
                self._was_stalled[row.id] = row.stalled
            elif was_stalled is not None:
                del self._was_stalled[row.id]
                if row.state in STATE_PHRASES:
                    text = f"{run_title(row)} {STATE_PHRASES[row.state]}"
                    changes.append(StateChange(row.id, str(row.state), text, row.group))
        return changes


def merge_by_group(changes: Sequence[StateChange]) -> list[StateChange]:
    """Merge the changes of several runs of a group to the same state into one; other changes stay as they are."""
    by_group: dict[tuple[str, str], list[StateChange]] = {}
    for change in changes:
        by_group.setdefault((change.group or change.run, change.state), []).append(change)
    merged = []
    for first, *others in by_group.values():
        phrase = PLURAL_PHRASES.get(first.state) or STATE_PHRASES.get(first.state)
        text = f"{1 + len(others)} runs of {first.group} {phrase}"
        merged.append(first._replace(text=text) if others else first)
    return merged


def escape_codes(change: StateChange) -> str:
    """Return BEL and OSC 9; iTerm2, WezTerm, Ghostty, Windows Terminal and others show OSC 9 on the desktop."""
    text = printable(change.text, 120).replace(";", ",")
    code = f"\x1b]9;dipddpm: {text}\x1b\\"
    if os.environ.get("TMUX"):
        # tmux forwards codes wrapped in its own escape sequence, if `allow-passthrough` is on.
        code = "\x1bPtmux;" + code.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    return "\x07" + code


def call_hook(command: str, change: StateChange) -> None:
    """Run the user's command in the background, ignoring its output and exit code."""
    variables = {"DIPDDPM_RUN": change.run, "DIPDDPM_STATE": change.state, "DIPDDPM_TEXT": printable(change.text)}
    options = {"shell": True, "env": os.environ | variables, "check": False, "start_new_session": True}
    silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    threading.Thread(target=subprocess.run, args=(command,), kwargs=options | silent, daemon=True).start()
