"""Benchmark of `dipddpm restore-image` on pictures that it is given damaged, as a person runs it.

Each row is one command in a process of its own: its result file is read and compared with the truth here. Rows that are
in the table already are not repeated, so that several commands can fill it. Rivals (BM3D with the noise level given,
the methods of scikit-image) are processes of the same kind: `python -m benchmarks.rivals`.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import numpy as np
import psutil
import typer
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks.damage import DAMAGES, Damaged, Pixels, damaged
from benchmarks.rivals import RIVALS
from dipddpm.core.events import MethodTried, NoiseEstimated, QualityPredicted
from dipddpm.core.runs import Run, RunsFolder
from dipddpm.tui.cli.output import print_table

METHODS = {
    "noise": ("auto", "nl-bayes", "bm3d", "nlm", "tv", "wavelet", "patch-prior", "dip"),
    "random": ("auto", "kriging", "biharmonic", "patch-prior", "dip"),
    "text": ("auto", "kriging", "biharmonic", "patch-prior", "dip"),
}
COMMAND = (sys.executable, "-c", "from dipddpm.tui.cli.main import main; main()")
"""The command `dipddpm` of this Python."""
LIMIT_SECONDS = 600.0
POLL_SECONDS = 0.5
Key: TypeAlias = tuple[str, str, int, str]
"""A picture, its damage, its size (0: the whole picture) and a method."""


@dataclass(frozen=True)
class Cost:
    """Wall time, CPU time of all processes together, and the peak memory of the process that took the most."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Row:
    """The result of one command: PSNR in dB and SSIM against the truth, and its costs."""

    picture: str
    damage: str
    size: int
    method: str
    chosen: str = ""
    """The method that `auto` chose."""
    psnr: float = 0.0
    ssim: float = 0.0
    seconds: float = 0.0
    """From the start of the command to its end, with the start of Python."""
    cpu_seconds: float = 0.0
    """CPU time of the command and its worker together."""
    peak_mib: float = 0.0
    """Peak resident memory of the process that took the most."""
    noise: float | None = None
    """The level that was estimated, in grey levels."""
    predicted: float | None = None
    lower: float | None = None
    upper: float | None = None
    note: str = ""

    @property
    def key(self) -> Key:
        """The measured values of the row."""
        return self.picture, self.damage, self.size, self.method


def measure(
    *,
    picture: Annotated[list[str] | None, typer.Option(help="Pictures of scikit-image.")] = None,
    damage: Annotated[list[str] | None, typer.Option(help=f"Kinds of damage: {', '.join(DAMAGES)}.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Methods and rivals; by default all for the damage.")] = None,
    size: Annotated[int, typer.Option(min=0, help="Side of the square in the middle; 0: the whole picture.")] = 0,
    limit: Annotated[float, typer.Option(min=1, help="Seconds after which a command is ended.")] = LIMIT_SECONDS,
    option: Annotated[list[str] | None, typer.Option("--set", help="Options of the command, as its --set.")] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where pictures, runs and the table are.")] = Path(
        "build/given"
    ),
) -> None:
    """Restore damaged pictures by `dipddpm restore-image` and by rivals, and measure quality, time and memory."""
    table = Table(out / "given.csv")
    for name in picture or ("camera", "astronaut"):
        for kind in damage or tuple(DAMAGES):
            rivals = [rival for rival, about in RIVALS.items() if kind in about.damages]
            for each in method or (*METHODS[kind], *rivals):
                if (key := (name, kind, size, each)) not in table:
                    row = restore(out, key, limit, option or ())
                    if row.psnr or row.seconds > limit:
                        table.append(row)
                    print(f"{name}, {kind}, {each}: {row.psnr:.2f} dB, {row.seconds:.0f} s {row.note}", flush=True)
    print_table([("PICTURE", "DAMAGE", "METHOD", "PSNR", "SSIM", "SECONDS", "CPU", "MIB"), *table.lines(size)])


class Table:
    """The rows in a CSV file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[Row] = []
        if file.is_file():
            with file.open(newline="") as stream:
                self.rows = [_row(values) for values in csv.DictReader(stream)]

    def __contains__(self, key: Key) -> bool:
        return any(row.key == key for row in self.rows)

    def append(self, row: Row) -> None:
        """Add a row at the end of the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = not self.file.is_file()
        with self.file.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, [field.name for field in fields(Row)], lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(asdict(row))
        self.rows.append(row)

    def lines(self, size: int) -> Iterator[tuple[str, ...]]:
        """Return the rows of this size for printing, the best first."""
        for row in sorted(self.rows, key=lambda row: (row.picture, row.damage, -row.psnr)):
            if row.size == size:
                name = f"{row.method} ({row.chosen})" if row.chosen not in {"", row.method} else row.method
                numbers = (f"{row.psnr:.2f}", f"{row.ssim:.3f}", f"{row.seconds:.0f}", f"{row.cpu_seconds:.0f}")
                yield row.picture, row.damage, name, *numbers, f"{row.peak_mib:.0f}"


def _row(values: dict[str, str]) -> Row:
    row: Row = msgspec.convert(
        {name: text if name in {"chosen", "note"} else text or None for name, text in values.items()}, Row, strict=False
    )
    return row


def restore(out: Path, key: Key, limit: float, settings: Sequence[str] = ()) -> Row:
    """Store the damaged picture as a file, restore it in another process, and measure the file that comes out."""
    picture, damage, size, method = key
    given = damaged(picture, damage, size)
    name = f"{picture}-{damage}" + (f"-{size}" if size else "")
    folder = out / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.png", folder / f"{name}-mask.png", folder / f"{name}-{method}.png"]
    save(files[0], given)
    runs = out / "runs" / f"{name}-{method}"
    shutil.rmtree(runs, ignore_errors=True)
    files[2].unlink(missing_ok=True)
    mask = [str(files[1])] if given.known is not None else []
    if method in RIVALS:
        truth = [str(folder / f"{name}-truth.png")] if RIVALS[method].uses_truth else []
        command = [sys.executable, "-m", "benchmarks.rivals", method, str(files[0]), str(files[2]), *mask, *truth]
    else:
        command = [*COMMAND, "restore-image", str(files[0]), "--out", str(files[2]), "--force"]
        command += ["--method", method, "--runs-dir", str(runs), "--now", "--set", "threads=1"]
        command += [word for file in mask for word in ("--mask", file)]
        command += [word for setting in settings for word in ("--set", setting)]
    cost, problem = run(command, limit)
    row = replace(
        _with_facts(Row(*key), runs), seconds=cost.seconds, cpu_seconds=cost.cpu_seconds, peak_mib=cost.peak_mib
    )
    if problem or not files[2].is_file():
        return replace(row, note=problem or "no result")
    psnr, ssim = quality(np.asarray(Image.open(files[2])), given.truth)
    return replace(row, psnr=round(psnr, 3), ssim=round(ssim, 4))


def save(file: Path, given: Damaged) -> None:
    """Store a damaged picture, its truth and its mask (black is missing) as PNG files beside each other."""
    Image.fromarray(given.pixels).save(file)
    Image.fromarray(given.truth).save(file.with_name(f"{file.stem}-truth.png"))
    if given.known is not None:
        Image.fromarray((255 * given.known).astype(np.uint8)).save(file.with_name(f"{file.stem}-mask.png"))


def quality(restored: Pixels, truth: Pixels) -> tuple[float, float]:
    """Return PSNR and SSIM by scikit-image, of 8-bit values."""
    psnr = peak_signal_noise_ratio(truth, restored, data_range=255)  # type: ignore[no-untyped-call]
    channels = 2 if truth.ndim == 3 else None
    ssim = structural_similarity(truth, restored, data_range=255, channel_axis=channels)  # type: ignore[no-untyped-call]
    return float(psnr), float(ssim)


def run(command: Sequence[str], limit: float) -> tuple[Cost, str]:
    """Run a command and the processes that it starts; return their costs and, if they failed, the last line.

    The processes are asked for their memory and CPU time twice a second: workers have sessions of their own, so
    that the command's resource usage doesn't include theirs.
    """
    began = time.perf_counter()
    peaks: dict[int, int] = {}
    cpu: dict[int, float] = {}
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    processes: list[psutil.Process] = []
    while child.poll() is None:
        try:
            top = psutil.Process(child.pid)
            processes = [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        for process in processes:
            try:
                cpu[process.pid] = sum(process.cpu_times()[:2])
                peaks[process.pid] = max(peaks.get(process.pid, 0), _peak(process.pid))
            except (psutil.NoSuchProcess, OSError):
                continue
        if time.perf_counter() - began > limit:
            for process in reversed(processes):
                process.kill()
        time.sleep(POLL_SECONDS)
    seconds = time.perf_counter() - began
    output = child.communicate()[0].strip().splitlines()
    peak = round(max(peaks.values(), default=0) / 2**20)
    cost = Cost(round(seconds, 1), round(sum(cpu.values()), 1), peak)
    if seconds > limit:
        return cost, f"not finished after {limit:.0f} s"
    return cost, " ".join(output[-2:]) if child.returncode else ""


def _peak(pid: int) -> int:
    """Return the peak resident memory of a process in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0


def _with_facts(row: Row, runs: Path) -> Row:
    """Add the method and what the run said about the noise and the quality."""
    found: list[Run] = RunsFolder(runs).runs() if runs.is_dir() else []
    for event in found[0].events() if found else ():
        if isinstance(event, NoiseEstimated):
            row = replace(row, noise=event.sigma)
        elif isinstance(event, MethodTried) and event.chosen:
            row = replace(row, chosen=event.method)
        elif isinstance(event, QualityPredicted):
            row = replace(row, chosen=event.method, noise=row.noise or event.noise, predicted=event.predicted_psnr)
            row = replace(row, lower=event.lower, upper=event.upper)
    return row
