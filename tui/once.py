"""`--once`: the console's first frame as text, for scripts, cron and tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time

from textual.pilot import Pilot

from tui.app import Options
from tui.console import Console

PATIENCE_SECONDS = 10.0


def print_frame(options: Options) -> int:
    """Print what the console shows once everything is read; the size is the terminal's, or COLUMNS and LINES."""
    columns, lines = shutil.get_terminal_size((120, 36))
    text = asyncio.run(_frame(Console(options), (columns, lines)))
    try:
        print(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


async def _frame(console: Console, size: tuple[int, int]) -> str:
    async with console.run_test(size=size) as pilot:
        await _settle(console, pilot)
        strips = console.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips)


async def _settle(console: Console, pilot: Pilot[None]) -> None:
    """Wait until the list and the run under its cursor stand on the screen."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not console.settled and time.monotonic() < until:
        await pilot.pause(0.02)
    await pilot.pause()
