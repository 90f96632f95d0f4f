"""Export a run to a tiny disk again and again, with a little more space each time. Run in a mount namespace of its own.

`python small_disk.py DISK RUN FORMAT...` prints a JSON line for each attempt. The script mounts the disk itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

from dipddpm.core.errors import UserError
from dipddpm.core.export import export
from dipddpm.core.io import output
from dipddpm.core.runs import Run

STEPS = (0, 4, 12, 32, 64, 128, 256, 512, 1024, 7168)
"""Free space in KiB."""


def attempt(run: Run, name: str, disk: Path, free: int) -> dict[str, object]:
    """Export with this much free space, and return what came of it."""
    filling, out = disk / "filling", disk / "out"
    with filling.open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(disk).free - 1024 * free)))
    printed, problem = io.StringIO(), ""
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
        try:
            export([run], [name], out)
        except UserError as error:
            problem = str(error)
    files = {str(path.relative_to(out)): path.stat().st_size for path in out.rglob("*") if path.is_file()}
    left = [str(path.relative_to(disk)) for path in disk.rglob("*") if path != filling]
    filling.unlink()
    shutil.rmtree(out, ignore_errors=True)
    return {
        "format": name,
        "free": free,
        "problem": problem,
        "files": len(files),
        "size": sum(files.values()),
        "left": left,
        "printed": printed.getvalue(),
    }


def main() -> None:
    """Mount the disk and try every format with every amount of free space."""
    disk, run = Path(sys.argv[1]), Run(Path(sys.argv[2]))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], check=True)
    # Without the check before the work, the disk fills up in the middle of it.
    output.refuse_folder = lambda folder: None
    for name in sys.argv[3:]:
        for free in STEPS:
            print(json.dumps(attempt(run, name, disk, free)), flush=True)


if __name__ == "__main__":
    main()
