"""Benchmark of large pictures: memory, time and seams between the tiles into which `restore-image` divides them.

A seam is a step between neighbouring pixels where tiles meet that is larger than the picture's own steps elsewhere. It
would show most in a flat picture, where the restoration has no other steps.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image

from benchmarks.damage import SIGMA, Pixels, noisy, truth_of
from benchmarks.given import COMMAND, Row, quality, run
from dipddpm.core.errors import UserError
from dipddpm.core.experiments.image.plan import TILE
from dipddpm.core.experiments.image.tiles import Window, divide
from dipddpm.tui.cli.output import print_table

SIDE = 1024
OVERLAP = 16
Steps = npt.NDArray[np.int64]


def _mirrored() -> Pixels:
    """Return the astronaut, mirrored to the right and downwards, so that the picture has no seam of its own."""
    astronaut = truth_of("astronaut")
    half = np.concatenate([astronaut, astronaut[:, ::-1]], 1)
    return np.concatenate([half, half[::-1]], 0)


PICTURES: Mapping[str, Callable[[], Pixels]] = {
    "astronaut": _mirrored,
    "flat": lambda: np.full((SIDE, SIDE, 3), 128, np.uint8),
}


@dataclass(frozen=True)
class Seams:
    """The steps between neighbouring pixels in grey levels, where tiles overlap and elsewhere."""

    largest_at_borders: float
    largest_elsewhere: float
    p999_at_borders: float
    """The 99.9th percentile."""
    p999_elsewhere: float
    line_at_borders: float
    """The mean step across a whole column or row, the largest of them: a faint seam is as long as its tile."""
    line_elsewhere: float


def measure(
    *,
    method: Annotated[list[str] | None, typer.Option(help="Methods of restore-image.")] = None,
    picture: Annotated[list[str] | None, typer.Option(help=f"Pictures: {', '.join(PICTURES)}.")] = None,
    limit: Annotated[float, typer.Option(min=1, help="Seconds after which a command is ended.")] = 600,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where pictures, runs and the table are.")] = Path(
        "build/large"
    ),
) -> None:
    """Denoise RGB pictures of 1024x1024 pixels, and measure memory, time and seams."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "large.csv"
    known = list(csv.DictReader(file.open(newline=""))) if file.is_file() else []
    for name in picture or tuple(PICTURES):
        if name not in PICTURES:
            raise UserError(f"There is no picture {name!r}.", f"Choose one of: {', '.join(PICTURES)}.")
        for each in method or ("auto",):
            if not any((row["picture"], row["method"]) == (name, each) for row in known):
                known.append({key: str(value) for key, value in restore(out, name, each, limit).items()})
                with file.open("w", newline="") as stream:
                    writer = csv.DictWriter(stream, list(known[0]), lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(known)
    print_table([tuple(known[0]), *(tuple(row.values()) for row in known)])


def restore(out: Path, name: str, method: str, limit: float) -> dict[str, Any]:
    """Restore one picture by a command, and return the row of the table."""
    truth = PICTURES[name]()
    given, result = out / f"{name}.png", out / f"{name}-{method}.png"
    Image.fromarray(noisy(truth, SIGMA, np.random.default_rng(0))).save(given)
    result.unlink(missing_ok=True)
    command = [*COMMAND, "restore-image", str(given), "--out", str(result), "--force", "--now"]
    cost, problem = run([*command, "--method", method, "--runs-dir", str(out / "runs"), "--set", "threads=1"], limit)
    row = Row(name, "noise", SIDE, method, note=problem)
    facts: dict[str, Any] = {"picture": row.picture, "method": row.method, **asdict(cost), "note": problem}
    if problem:
        return {**facts, "psnr": "", **dict.fromkeys(Seams.__dataclass_fields__, "")}
    restored = np.asarray(Image.open(result))
    seams = seams_of(restored, divide((SIDE, SIDE), TILE, OVERLAP))
    return {**facts, "psnr": round(quality(restored, truth)[0], 3), **asdict(seams)}


def seams_of(restored: Pixels, windows: list[Window]) -> Seams:
    """Measure the steps of a restored picture (H, W, C) where windows overlap, and elsewhere."""
    values = restored.astype(np.int64)
    columns, rows = np.abs(np.diff(values, axis=1)), np.abs(np.diff(values, axis=0)).swapaxes(0, 1)
    lefts = {(window.left, window.width) for window in windows}
    tops = {(window.top, window.height) for window in windows}
    borders, elsewhere = [], []
    for steps, spans in ((columns, lefts), (rows, tops)):
        at_border = _overlaps(steps.shape[1], spans)
        borders.append(steps[:, at_border])
        elsewhere.append(steps[:, ~at_border])

    def figures(parts: list[Steps]) -> tuple[float, float, float]:
        every = np.concatenate([part.ravel() for part in parts])
        lines = max(float(part.mean(axis=(0, 2)).max()) for part in parts)
        return float(every.max()), float(np.percentile(every, 99.9)), round(lines, 3)

    (largest, high, line), (largest_other, high_other, line_other) = figures(borders), figures(elsewhere)
    return Seams(largest, largest_other, high, high_other, line, line_other)


def _overlaps(steps: int, spans: set[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    """Return which steps along an axis, between pixel i and i + 1, touch a pixel of two spans or a span's border."""
    count = np.zeros(steps + 1, np.int64)
    borders = np.zeros(steps, np.bool_)
    for first, length in spans:
        count[first : first + length] += 1
        for border in (first - 1, first + length - 1):
            if 0 <= border < steps:
                borders[border] = True
    shared = count > 1
    return borders | shared[:-1] | shared[1:]
