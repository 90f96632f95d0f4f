"""Make real runs on the shipped images, and write screenshots of the console with these runs into `docs/`.

    python -m scripts.screenshots [FOLDER]

The script takes some minutes on two CPU cores. It reuses the runs in FOLDER; without FOLDER it makes the runs in a
temporary folder. The pictures are SVG without embedded fonts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dipddpm.tui.console.model.host import HostSample

DOCS = Path(__file__).parents[1] / "docs"
SIZE, PICTURES = (120, 36), (110, 32)
"""Columns and lines of the screenshots; pictures are smaller, because each half of a cell becomes an SVG element."""
COMMAND = [sys.executable, "-P", "-c", "from dipddpm.tui.cli.main import main; main()"]
TASK = "inpaint:missing=0.7,sigma=5"
MADE = {
    "small U-Net": "ddpm --preset cpu --epochs 8 --dataset fashion-mini --set unet.channels=16,32",
    "as published": "ddpm --epochs 4 --dataset fashion-mini --set ddpm.samples=0",
    "prior-init": f"hybrid --method prior-init --dataset fashion-mini --images 4 --task {TASK}",
}
SWEPT = f"dip --over dip.lr=0.005,0.05 --seeds 2 --dataset fashion-mini --images 4 --task {TASK} --iterations 300"
"""Options of a sweep whose runs form the group `rates`."""
WATCHED = f"dip --dataset fashion-mini --images 4 --task {TASK} --iterations 800 --set dip.stop=never"
"""Options of the run that is made last and shown while it runs."""
SHOWN = {"host": "box", "folder": "~/runs"}
"""Names that replace this machine's own."""


def make(folder: Path) -> None:
    """Make the missing runs in a folder, then the pictures."""
    os.environ |= {
        "DIPDDPM_RUNS": str(folder / "runs"),
        "DIPDDPM_SLOTS_DIR": str(folder / "slots"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "TEXTUAL_COLOR_SYSTEM": "truecolor",
    }
    hide_names()
    from dipddpm.core.launch.local import runs_root, stop
    from dipddpm.core.runs import RunsFolder

    runs = RunsFolder(runs_root(None))
    existing = {run.status().summary.name for run in runs.runs()}
    for name, options in MADE.items():
        if name not in existing:
            dipddpm("run", *options.split(), "--name", name)
    dipddpm("sweep", *SWEPT.split(), "--group", "rates")
    dipddpm("watch", "rates")
    watched = runs.find(dipddpm("run", *WATCHED.split(), "--name", "pixels missing", "--detach").strip())
    while (watched.status().summary.progress or 0) < 0.55:
        assert watched.status().state.live, watched.status().summary.error
        time.sleep(0.2)
    save("live", asyncio.run(picture(runs.root, watched.id, "1", "y")))
    stop(watched)
    ids = {run.status().summary.name: run.id for run in runs.runs()}
    save("images", asyncio.run(picture(runs.root, ids["prior-init"], "2", size=PICTURES)))
    save("compare", asyncio.run(picture(runs.root, ids["as published"], "m", "j", "m", "5", "y")))
    member = next(run.id for run in runs.runs() if run.status().summary.group == "rates")
    save("group", asyncio.run(picture(runs.root, member, "left", "5", "y")))
    scored = next(run.id for run in runs.references() if run.status().summary.kind == "restore")
    save("scores", asyncio.run(picture(runs.root, scored, "1")))
    save("form", asyncio.run(picture(runs.root, ids["prior-init"], "f")))


def dipddpm(*arguments: str) -> str:
    """Run a command of dipddpm and return its output."""
    print("dipddpm", *arguments, file=sys.stderr)
    return subprocess.run([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


async def picture(root: Path, run: str, *keys: str, size: tuple[int, int] = SIZE) -> str:
    """Show the console with this run under the cursor, press these keys, and return its SVG."""
    from dipddpm.tui.console.app import DipddpmApp
    from dipddpm.tui.console.session import Options, Session

    console = DipddpmApp(Session.open(Options(root=root, run=run)))
    async with console.run_test(size=size) as pilot:
        for key in ("", *keys):
            await pilot.press(*[key] * bool(key))
            until = time.monotonic() + 20
            while not console.first_frame_ready and time.monotonic() < until:
                await pilot.pause(0.05)
        # Wait for the thread that decodes pictures.
        await pilot.pause(2.0)
        return shrink(console.export_screenshot(title="dipddpm"))


def hide_names() -> None:
    """Replace the names of the machine and of the runs folder in the console."""
    from dipddpm.tui.console.widgets.hostline import HostLine

    show = HostLine.show

    def show_other(
        line: HostLine, sample: HostSample | None, queue: tuple[int, int] = (0, 0), runs_path: str = ""
    ) -> None:
        show(line, sample and replace(sample, hostname=SHOWN["host"]), queue, SHOWN["folder"] if runs_path else "")

    HostLine.show = show_other  # type: ignore[method-assign, assignment]


def shrink(svg: str) -> str:
    """Remove clip paths and web fonts, which leaves the same picture in a third of the bytes."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code,", "")
    svg = re.sub(r' clip-path="url\(#[\w-]+-line-\d+\)"', "", svg)
    svg = re.sub(r"<clipPath id=\"[\w-]+-line-\d+\">.*?</clipPath>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace(' shape-rendering="crispEdges"', "").replace(
        "<style>", "<style>rect{shape-rendering:crispEdges}", 1
    )
    svg = re.sub(r"terminal-\d+-", "", svg)
    return re.sub(r' textLength="12.2"', "", svg)


def save(name: str, svg: str) -> None:
    """Write a picture into `docs/`."""
    (DOCS / f"{name}.svg").write_text(svg)
    print(f"docs/{name}.svg, {len(svg) / 1000:.0f} kB", file=sys.stderr)


def main() -> None:
    """Make the pictures, with the runs in the named folder or in a temporary one."""
    parser = argparse.ArgumentParser(prog="python -m scripts.screenshots")
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER")
    if folder := parser.parse_args().folder:
        make(folder.absolute())
    else:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            make(Path(temporary))


if __name__ == "__main__":
    main()
