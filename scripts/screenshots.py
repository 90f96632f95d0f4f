"""The README's screenshots: real runs on the images that ship, made first, and the console that shows them.

    python docs/screenshots.py [FOLDER]

takes some minutes on two CPU cores. Runs that stand in FOLDER already are not made again; without one they are made in
a temporary folder. The pictures are SVG, without fonts of their own, beside this file.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SIZE, PICTURES = (120, 36), (110, 32)
"""Columns and lines. Each half of a cell of a picture is an element of its own, so there are fewer of them."""
COMMAND = [sys.executable, "-P", "-c", "from dipddpm.tui.cli.main import main; main()"]
TASK = "inpaint:missing=0.7,sigma=5"
MADE = {
    "small U-Net": "ddpm --preset cpu --epochs 8 --dataset fashion-mini --set unet.channels=16,32",
    "as published": "ddpm --epochs 4 --dataset fashion-mini --set ddpm.samples=0",
    "prior-init": f"hybrid --method prior-init --dataset fashion-mini --images 4 --task {TASK}",
}
WATCHED = f"dip --dataset fashion-mini --images 4 --task {TASK} --iterations 800 --set dip.stop=never"
"""Made last and looked at while it goes on."""
SHOWN = {"host": "box", "folder": "~/runs"}
"""In place of this machine's own names, which are nobody's business."""


def main(folder: Path) -> None:
    """Make what runs are missing, and the pictures."""
    os.environ |= {
        "DIPDDPM_RUNS": str(folder / "runs"),
        "DIPDDPM_SLOTS_DIR": str(folder / "slots"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "TEXTUAL_COLOR_SYSTEM": "truecolor",
    }
    disguise()
    from dipddpm.core.launch.local import runs_root, stop
    from dipddpm.core.runs import RunsFolder

    runs = RunsFolder(runs_root(None))
    here = {run.status().summary.name for run in runs.runs()}
    for name, options in MADE.items():
        if name not in here:
            dipddpm("run", *options.split(), "--name", name)
    watched = runs.find(dipddpm("run", *WATCHED.split(), "--name", "pixels missing", "--detach").strip())
    while (watched.status().summary.progress or 0) < 0.55:
        assert watched.status().state.live, watched.status().summary.error
        time.sleep(0.2)
    save("live", asyncio.run(picture(runs.root, watched.id, "1", "y")))
    stop(watched)
    ids = {run.status().summary.name: run.id for run in runs.runs()}
    save("images", asyncio.run(picture(runs.root, ids["prior-init"], "2", size=PICTURES)))
    save("compare", asyncio.run(picture(runs.root, ids["as published"], "m", "j", "m", "5", "y")))


def dipddpm(*arguments: str) -> str:
    """A command, and what it printed."""
    print("dipddpm", *arguments, file=sys.stderr)
    return subprocess.run([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


async def picture(root: Path, run: str, *keys: str, size: tuple[int, int] = SIZE) -> str:
    """The console with this run under the cursor, after these keys, as SVG."""
    from dipddpm.tui.console.__main__ import Options
    from dipddpm.tui.console.app import DipddpmApp

    console = DipddpmApp(Options(root=root, run=run))
    async with console.run_test(size=size) as pilot:
        for key in ("", *keys):
            await pilot.press(*[key] * bool(key))
            until = time.monotonic() + 20
            while not console.first_frame_ready and time.monotonic() < until:
                await pilot.pause(0.05)
        # Pictures are decoded in a thread of their own.
        await pilot.pause(2.0)
        return lighter(console.export_screenshot(title="dipddpm"))


def disguise() -> None:
    """Let the line about the machine name another one."""
    from dipddpm.tui.console.widgets.hostline import HostLine

    show = HostLine.show

    def show_another(line: HostLine, sample: Any, queue: tuple[int, int] = (0, 0), place: str = "") -> None:
        show(line, sample and replace(sample, hostname=SHOWN["host"]), queue, SHOWN["folder"] if place else "")

    HostLine.show = show_another  # type: ignore[method-assign, assignment]


def lighter(svg: str) -> str:
    """The same picture in a third of the bytes, and without fonts to be fetched."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code,", "")
    svg = re.sub(r' clip-path="url\(#[\w-]+-line-\d+\)"', "", svg)
    svg = re.sub(r"<clipPath id=\"[\w-]+-line-\d+\">.*?</clipPath>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(' shape-rendering="crispEdges"', "").replace(
        "<style>", "<style>rect{shape-rendering:crispEdges}", 1
    )
    svg = re.sub(r"terminal-\d+-", "", svg)
    return re.sub(r' textLength="12.2"', "", svg)


def save(name: str, svg: str) -> None:
    """Put a picture beside this file."""
    (HERE / f"{name}.svg").write_text(svg)
    print(f"docs/{name}.svg, {len(svg) / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).absolute())
    else:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            main(Path(temporary))
