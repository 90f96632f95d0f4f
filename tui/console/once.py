"""`--once`: the console's first frame as text, for scripts, cron and tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time

from textual.pilot import Pilot

from dipddpm.tui.console.__main__ import Options
from dipddpm.tui.console.app import DipddpmApp

TIMEOUT_SECONDS = 10.0


def print_frame(options: Options) -> int:
    """Print what the console shows once everything is read; the size is the terminal's, or COLUMNS and LINES."""
    columns, lines = shutil.get_terminal_size((120, 36))
    text = asyncio.run(_frame(DipddpmApp(options), (columns, lines)))
    try:
        print(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


async def _frame(app: DipddpmApp, size: tuple[int, int]) -> str:
    async with app.run_test(size=size) as pilot:
        await _wait_until_ready(app, pilot)
        strips = app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips)


async def _wait_until_ready(app: DipddpmApp, pilot: Pilot[None]) -> None:
    """Wait until the list and the run under its cursor stand on the screen."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not app.first_frame_ready and time.monotonic() < deadline:
        await pilot.pause(0.02)
    await pilot.pause()
