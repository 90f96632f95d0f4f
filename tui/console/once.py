"""`--once`: the console's first frame as text, for scripts, cron and tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time

from dipddpm.tui.console.app import DipddpmApp
from dipddpm.tui.console.background import is_working
from dipddpm.tui.console.compositor import screen_text
from dipddpm.tui.console.session import Session

TIMEOUT_SECONDS = 10.0


def print_frame(session: Session) -> int:
    """Print what the console shows once everything is read; the size is the terminal's, or COLUMNS and LINES."""
    columns, lines = shutil.get_terminal_size((120, 36))
    text = asyncio.run(_frame(DipddpmApp(session), (columns, lines)))
    try:
        print(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


async def _frame(app: DipddpmApp, size: tuple[int, int]) -> str:
    """The screen with the list and the run under its cursor, as soon as the files that they show have been read."""
    async with app.run_test(size=size) as pilot:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (not app.first_frame_ready or is_working()) and time.monotonic() < deadline:
            await pilot.pause(0.02)
        await pilot.pause()
        return screen_text(app.screen)
