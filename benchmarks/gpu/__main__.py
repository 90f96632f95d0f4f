"""The command `scripts/gpu_day.sh`: measure everything that waits for a GPU, in the order of its worth."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu import wheels
from benchmarks.gpu.day import Day
from benchmarks.gpu.parts import PARTS, Settings

MINUTES = 9.0
"""The time that the parts' limits are made for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or download the wheels; return the exit code: 0 if every part is done, 1 if not, 2 for bad usage."""
    parser = argparse.ArgumentParser(
        prog="scripts/gpu_day.sh",
        description="Measure everything that waits for a GPU. Started again on the same folder, it measures the rest.",
    )
    parser.add_argument("output", nargs="?", type=Path, metavar="FOLDER", help="folder of results.json and results.md")
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        help="time for everything; with more, each part may take longer (%(default)g)",
    )
    parser.add_argument("--miniature", action="store_true", help="every part at tiny sizes, on the CPU")
    parser.add_argument(
        "--only", metavar="PARTS", help=f"parts, separated by commas: {','.join(p.name for p in PARTS)}"
    )
    parser.add_argument("--device", help="device of the measurements (default: cuda; of a miniature: cpu)")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="folder of FashionMNIST (default: the usual places)"
    )
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="wheels of packages that this machine lacks")
    parser.add_argument("--download-wheels", type=Path, metavar="FOLDER", help="download these wheels, and do no more")
    parser.add_argument(
        "--python-version", default=wheels.PYTHON, help=f"of --download-wheels (default: {wheels.PYTHON})"
    )
    parser.add_argument(
        "--published", type=Path, metavar="FOLDER", help="checkout of BrianPulfer/PapersReimplementations"
    )
    parser.add_argument("--original", type=Path, metavar="FOLDER", help="checkout of DmitryUlyanov/deep-image-prior")
    parser.add_argument(
        "--runs", type=Path, metavar="FOLDER", help="folder of the parts' runs (default: a temporary one)"
    )
    options = parser.parse_args(arguments)
    if options.download_wheels:
        wheels.download(options.download_wheels, options.python_version)
        return 0
    if options.output is None:
        parser.error("give the folder of the results")
    chosen = options.only.split(",") if options.only else [part.name for part in PARTS]
    if unknown := set(chosen) - {part.name for part in PARTS}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    for folder in (options.data, options.wheels, options.published, options.original):
        if folder and not folder.is_dir():
            parser.error(f"there is no folder {folder}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="dipddpm-gpu-", ignore_cleanup_errors=True) as temporary:
        if options.wheels:
            site = Path(temporary) / "site"
            wheels.install(options.wheels, site)
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(site))))
        if options.data:
            os.environ["DIPDDPM_DATA"] = str(options.data.resolve())
        settings = Settings(
            device=options.device or ("cpu" if options.miniature else "cuda"),
            miniature=options.miniature,
            output=str(options.output.resolve()),
            runs=str((options.runs or Path(temporary) / "runs").resolve()),
            published=str(options.published.resolve()) if options.published else "",
            original=str(options.original.resolve()) if options.original else "",
        )
        try:
            scale = max(1.0, options.minutes / MINUTES)
            parts = [replace(part, seconds=scale * part.seconds) for part in PARTS if part.name in chosen]
            day = Day(settings, options.minutes, parts)
        except ValueError as error:
            parser.error(str(error))
        done = day.run()
    print(f"The results are in {options.output}/results.md")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
