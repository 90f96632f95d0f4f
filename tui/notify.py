"""Telling a person who looks elsewhere that a run ended, failed or stalled: bell, desktop notification, hook."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from core.runs import State
from core.text import printable
from tui.columns import title

if TYPE_CHECKING:
    from tui.model.runlist import RunRow


class News(NamedTuple):
    """Something that is worth a bell."""

    run: str
    state: str
    text: str
    group: str = ""


SENTENCES = {
    State.finished: "is done",
    State.failed: "failed",
    State.crashed: "crashed",
    State.stopped: "was stopped",
}

OF_SEVERAL = {State.finished: "are done", State.stopped: "were stopped"}
"""Where one says something else of several."""


class Watch:
    """Compares what it is shown with what it was shown before. What had ended when it first looked is no news."""

    def __init__(self) -> None:
        self._live: dict[str, bool] = {}
        """Runs that were live at the last look, and whether they stalled."""

    def look(self, rows: Iterable[RunRow]) -> list[News]:
        """What happened since the last look."""
        news = []
        for row in rows:
            before = self._live.get(row.id)
            if row.state.live:
                if row.stalled and before is False:
                    news.append(News(row.id, "stalled", f"{title(row)} is alive but has stopped advancing"))
                self._live[row.id] = row.stalled
            elif before is not None:
                del self._live[row.id]
                if row.state in SENTENCES:
                    text = f"{title(row)} {SENTENCES[row.state]}"
                    news.append(News(row.id, str(row.state), text, row.group))
        return news


def together(news: Sequence[News]) -> list[News]:
    """What happened to several runs of a group at once, as one piece of news; the rest as it is."""
    alike: dict[tuple[str, str], list[News]] = {}
    for one in news:
        alike.setdefault((one.group or one.run, one.state), []).append(one)
    return [_several(those) if len(those) > 1 else those[0] for those in alike.values()]


def _several(news: Sequence[News]) -> News:
    first, state = news[0], State(news[0].state)
    return first._replace(text=f"{len(news)} runs of {first.group} {OF_SEVERAL.get(state, SENTENCES[state])}")


def escape_codes(news: News) -> str:
    """BEL, then OSC 9, which iTerm2, WezTerm, Ghostty, Windows Terminal and others show on the desktop."""
    text = printable(news.text, 120).replace(";", ",")
    code = f"\x1b]9;dipddpm: {text}\x1b\\"
    if os.environ.get("TMUX"):
        # tmux hands on what stands in its own envelope, where `allow-passthrough` is on.
        code = "\x1bPtmux;" + code.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    return "\x07" + code


def call_hook(command: str, news: News) -> None:
    """Run the person's own command in the background; what becomes of it is theirs to see."""
    told = {"DIPDDPM_RUN": news.run, "DIPDDPM_STATE": news.state, "DIPDDPM_TEXT": printable(news.text)}
    options = {"shell": True, "env": os.environ | told, "check": False, "start_new_session": True}
    silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    threading.Thread(target=subprocess.run, args=(command,), kwargs=options | silent, daemon=True).start()
