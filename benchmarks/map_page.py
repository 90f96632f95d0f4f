"""Tables and the figure of a map of gains for its page: the gains, what each part adds, and what was predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.gain_map import MapBoard, counts
from dipddpm.core.experiments.gain_map.outlooks import hits
from dipddpm.core.methods.calibrated.outlook import outlook
from dipddpm.core.report import gain_map, plots
from dipddpm.core.runs import Run, reference


def measure(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN_FOLDER...", help="Runs of dipddpm run map, joined; by default those that ship."),
    ] = None,
    *,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the figure here.")] = None,
) -> None:
    """Print a map of gains as tables in Markdown."""
    board = board_of_runs(folders or shipped(reference.FOLDER))
    if figure is not None:
        plots.save(gain_map.figure(board), figure)
    print(totals(board), parts(board), predictions(board), sep="\n\n")


def shipped(root: Path) -> list[Path]:
    """Return the folders of the maps among the reference runs in `root`."""
    return [path for path in sorted(root.iterdir()) if "-map-" in path.name]


def board_of_runs(folders: list[Path]) -> MapBoard:
    """Return the board of several runs together. Raises UserError without any cell of a map."""
    board = MapBoard(event for folder in folders for event in Run(folder).events())
    if not board.map_cells:
        raise UserError("There is no cell of a map yet.", "Name folders of runs of dipddpm run map.")
    return board


def totals(board: MapBoard) -> str:
    """Return a table of how many cells DIP and diffusion together gain and lose in, by set and by prior."""
    lines = ["| cells | DIP + DDPM against the better of the two |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {counts(cells)} |" for name, cells in board.groups().items())])


def parts(board: MapBoard) -> str:
    """Return a table of all cells: the gain over the better one, and what DIP and diffusion add beside classics."""
    lines = ["| task, set | prior | gain in dB | the better one | DIP adds | diffusion adds |", "|---" * 6 + "|"]
    for cell in board.map_cells:
        texts = [cell.gain.text(), cell.best, cell.by_dip.text(), cell.by_diffusion.text()]
        lines.append(f"| `{cell.task}`, {cell.set} | {cell.prior} | {' | '.join(texts)} |")
    return "\n".join(lines)


def predictions(board: MapBoard) -> str:
    """Count the cells in which held-out measurements predict correctly whether DIP helps, and list the others."""
    found = hits(board)
    lines = [f"Held-out measurements predict correctly whether DIP helps in {found.text}."]
    for cell in found.wrong:
        expected = outlook(cell.trial) if cell.trial else None
        if expected is not None:
            lines.append(f"- {cell.name}: DIP adds {cell.by_dip.text(' dB')}, predicted {expected.by_dip:+.2f} dB")
    return "\n".join(lines)
