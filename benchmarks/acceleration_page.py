"""Tables and a picture of a comparison of starts for its page: how soon each start is good, all PSNRs, wrong uses."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from torch import Tensor

from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.acceleration import AccelerationBoard, Reached, seconds_text
from dipddpm.core.evaluation.boards import board_of
from dipddpm.core.evaluation.cell import Cell
from dipddpm.core.evaluation.intervals import interval
from dipddpm.core.events import ImageSaved
from dipddpm.core.images import load_image, picture, save_png, split_picture
from dipddpm.core.report import plots
from dipddpm.core.report.plots import ImagePanels
from dipddpm.core.runs import Run, reference

STARTS = {"noise": "pure noise", "pinv": "A+ y", "classic": "kriging or bicubic", "lle": "LLE", "dip": "DIP"}
"""The starts in the order of the table's columns, and their headings."""
USES = {
    "degraded": "measured",
    "dip": "DIP",
    "dip > in-place 100 x1": "in place",
    "dip > mixed 100 x1": "mixed",
    "dip > noised 100 x1": "noised",
    "dip > diffpir 5 x8": "with a data step",
    "truth": "truth",
}
"""The panels of the picture of wrong uses, and their headings."""
SHOWN = 5
"""Number of images in that picture."""


def measure(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="RUN_FOLDER", help="A run of dipddpm run acceleration; by default the one that ships."),
    ] = None,
    *,
    uses: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the uses of DIP's result here.")] = None,
) -> None:
    """Print a comparison of starts as tables in Markdown."""
    run = Run(folder or shipped(reference.FOLDER))
    board = board_of(run.events())
    if not isinstance(board, AccelerationBoard):
        raise UserError(f"{folder} has no scores of starts.", "Name the folder of a run of dipddpm run acceleration.")
    if uses is not None:
        draw_uses(run, uses)
    print(soonest(board), gains(board), everything(board), sep="\n\n")


def shipped(root: Path) -> Path:
    """Return the folder of the comparison of starts among the reference runs in `root`."""
    return next(path for path in sorted(root.iterdir()) if "-acceleration-" in path.name)


def soonest(board: AccelerationBoard) -> str:
    """Return a table of the seconds after which each start is as good as pure noise at its best."""
    lines = [f"| task, set, samples | goal | {' | '.join(STARTS.values())} |", "|---" * (len(STARTS) + 2) + "|"]
    for cell in board.cells.values():
        for samples in board.samples(cell):
            goal = board.goal(cell, samples)
            found = {each.variant.start: each for each in board.reached(cell, samples)}
            if goal:
                texts = " | ".join(_reached(found[start]) for start in STARTS)
                lines.append(f"| `{cell.task}`, {cell.set}, {samples} | {goal[1].mean.value:.2f} dB | {texts} |")
    return "\n".join(lines)


def gains(board: AccelerationBoard) -> str:
    """Return a table of what the best row of DIP's start gains over the best of the others in the same time."""
    lines = ["| task, set | DIP's best | the others' best in its time | difference in dB |", "|---|---|---|---|"]
    lines += [text for cell in board.cells.values() if (text := _gain(board, cell))]
    return "\n".join(lines)


def everything(board: AccelerationBoard) -> str:
    """Return the table of all PSNRs, as `dipddpm show` prints it, without the verdicts."""
    verdicts = len(board.summary()) + 1
    return "```text\n" + "\n".join(board.lines()[:-verdicts]) + "\n```"


def draw_uses(run: Run, path: Path) -> None:
    """Draw what each use of DIP's result gives. Raises UserError if no picture of the run shows it."""
    title, images = uses_of(run)
    with TemporaryDirectory() as folder:
        save_png(file := Path(folder) / "uses.png", picture(images, len(USES)))
        title = f"Uses of DIP's result in a sampler, {title}"
        plots.save(ImagePanels(title, file, [*USES.values()], len(USES)), path)


def uses_of(run: Run) -> tuple[str, Tensor]:
    """Return the title of the first picture that shows all uses, and its panels of `USES`, row by row, (N, C, H, W).

    Raises UserError if there is none.
    """
    saved = [event for event in run.events() if isinstance(event, ImageSaved) and {*USES} <= {*event.panels}]
    if not saved:
        raise UserError(f"{run.id} has no picture of the wrong uses.", "Name a run with controls and DIP's start.")
    panels, columns = saved[0].panels, saved[0].columns
    tiles = split_picture(load_image(run.folder / saved[0].file)[0], columns)
    rows = min(SHOWN, len(tiles) // columns)
    return saved[0].title, tiles[[row * columns + panels.index(name) for row in range(rows) for name in USES]]


def _gain(board: AccelerationBoard, cell: Cell) -> str:
    gain = board.gain_in_time(cell)
    if gain is None:
        return ""
    ours, best, differences = gain
    difference = interval([*differences.values()]).text()
    return f"| `{cell.task}`, {cell.set} | `{ours.method}` | `{best.method}` | {difference} |"


def _reached(each: Reached) -> str:
    if not each.reaches:
        return f"never ({each.psnr:.2f} dB)"
    how = f"{each.variant.nfe} NFE" if each.variant.sampler else "alone"
    return f"{seconds_text(each.seconds)} ({how})"
