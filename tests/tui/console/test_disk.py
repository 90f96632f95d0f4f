"""The screen's thread never touches the runs folder: a slow disk must not hold up a key."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dipddpm.core.runs import LOG_FILE
from tests.tui.driving import Maker, Opener, add_picture

WATCHED_EVENTS = {"open", "os.listdir", "os.scandir", "os.rename", "os.mkdir", "os.remove", "subprocess.Popen"}


class Watch:
    """Writes down what one thread does to files below a folder, while it is on. A hook can't be taken back."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.thread = 0
        self.seen: list[tuple[str, str]] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in WATCHED_EVENTS and threading.get_ident() == self.thread:
            path = str(arguments[0])
            if event == "subprocess.Popen" or path.startswith(self.folder):
                self.seen.append((event, path))


@pytest.mark.usefixtures("busy")
async def test_the_screens_thread_reads_and_writes_nothing_of_a_run(opened: Opener, make: Maker) -> None:
    for name in ("beta", "alpha"):
        run = make(name=name, state="stopped", settings={"data.dataset": "fashion-mini", "device": "cpu"})
        add_picture(run, "restored", 10, 100)
        (run.folder / LOG_FILE).write_text("printed\n")
    watch = Watch(make.root)
    async with opened((120, 50)) as driver:
        watch.thread = threading.get_ident()
        (run.folder / LOG_FILE).open().close()
        assert watch.seen == [("open", str(run.folder / LOG_FILE))], "what this thread opens is noticed"
        watch.seen.clear()
        for keys in (
            ("m", "j", "m", "k", "1", "2", "3", "4", "5"),
            ("f",), ("escape",), ("n",), ("escape",), ("t",), ("enter",), ("enter",), ("x",), ("escape",),
            ("e",), ("escape",), ("Q",), ("escape",), ("D",), ("d",), ("n",), ("escape",),
            ("d",), ("y",), ("u",), ("slash",), ("a", "enter"), ("escape",), ("question_mark",), ("escape",), ("o",),
            ("escape",), ("0",), ("0",), ("comma", "full_stop"), ("y", "w", "a"), ("z", "z"), ("ctrl+p",), ("escape",),
            ("D",), ("b",), ("y",), ("p",), ("y",), ("x",), ("y",), ("escape",),
            ("r",), ("f",), ("ctrl+s",), ("s",), ("y",), ("Q",), ("J",), ("escape",),
        ):  # fmt: skip
            await driver.press(*keys)
            await driver.pilot.pause(0.1)
        await driver.until(lambda: len(driver.main.rows) == 3, "the forked run in the list")
        watch.thread = 0
    assert watch.seen == []
