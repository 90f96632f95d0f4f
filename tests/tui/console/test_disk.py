"""The screen's thread never reads or writes the runs folder, so that a slow disk delays no key."""

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
    """Records the file operations of `thread` below a folder; 0 is no thread, since audit hooks can't be removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.thread = 0
        self.operations: list[tuple[str, str]] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in WATCHED_EVENTS and threading.get_ident() == self.thread:
            path = str(arguments[0])
            if event == "subprocess.Popen" or path.startswith(self.folder):
                self.operations.append((event, path))


@pytest.mark.usefixtures("busy")
async def test_screen_thread_never_touches_files_of_runs(opened: Opener, make: Maker) -> None:
    for name in ("beta", "alpha"):
        run = make(name=name, state="stopped", settings={"data.dataset": "fashion-mini", "device": "cpu"})
        add_picture(run, "restored", 10, 100)
        (run.folder / LOG_FILE).write_text("printed\n")
    watch = Watch(make.root)
    async with opened((120, 50)) as driver:
        watch.thread = threading.get_ident()
        (run.folder / LOG_FILE).open().close()
        assert watch.operations == [("open", str(run.folder / LOG_FILE))], "this thread's operations are recorded"
        watch.operations.clear()
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
        await driver.until(lambda: len(driver.main.rows) == 3, "the forked run in the list")
        watch.thread = 0
    assert watch.operations == []
