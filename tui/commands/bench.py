"""`dipddpm bench`: what the program itself costs on this machine."""

from __future__ import annotations

import sys

import msgspec

from core import bench as benchmarks
from tui.commands.history import print_table
from tui.commands.options import Json

COMMAND = [sys.executable, "-P", "-c", "from tui.cli import main; main()"]


def bench(json: Json = False) -> None:
    """Measure start-up times and the cost of the event log, each beside what it is compared with."""
    rows = [*benchmarks.start_up(COMMAND), *benchmarks.event_log()]
    if json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    table = [("WHAT", "MEDIAN", "SPREAD", "RATIO", "AGAINST")]
    table += [(r.name, f"{r.seconds:.3f} s", f"±{r.spread:.3f}", f"{r.ratio:.3f}", r.against) for r in rows]
    print_table(list(table))
