"""A run's figures in the quality that papers ask for: a column wide, vectors and outlines, colours for all eyes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from core import plots
from core.errors import UserError
from core.events import BestModelStored, EpochFinished, PsnrMeasured, Step, StopsCompared
from core.export.record import Record, mean, safe
from core.plots import COLUMN, Curve, Drawing, Panels, Plot, Spot, Strip, wants_log
from core.quality_time import quality_time
from core.scores import Scoreboard
from core.text import printable

KINDS: tuple[Literal["pdf", "svg", "png"], ...] = ("pdf", "svg", "png")
FEW = 7
"""So many curves are told apart by their colours; of more, the mean stands out."""


def write(record: Record, place: Path) -> None:
    """Each drawing as PDF, SVG and PNG (300 dots an inch), 8.5 cm wide."""
    for name, drawing in drawings(record).items():
        for kind in KINDS:
            plots.save(drawing, place / f"{name}.{kind}", COLUMN, kind)


def drawings(record: Record) -> dict[str, Drawing]:
    """All that there is to draw of the run, by name. Raises UserError where that is nothing."""
    found: dict[str, Drawing | None] = {
        "loss": _loss(record),
        "loss-by-timestep": _by_timestep(record),
        "psnr": _psnr(record),
        "fit-loss": _fit_loss(record),
        **_scores(record),
        **_panels(record),
    }
    drawn = {name: drawing for name, drawing in found.items() if drawing is not None}
    if not drawn:
        problem = f"The run {printable(record.run.id)} has nothing to draw yet."
        raise UserError(problem, "Export it when it has begun its work.")
    return drawn


def _scores(record: Record) -> dict[str, Drawing]:
    """The scoreboard: methods against each other in each cell, and quality against time for each task."""
    board = Scoreboard(record.history)
    found: dict[str, Drawing] = {}
    for number, cell in enumerate(board.cells.values(), 1):
        if cell.rows:
            rows = {f"{method} @{of}" if of else method: row.psnr for (method, of), row in cell.rows.items()}
            told = {printable(name, 30): values for name, values in rows.items() if values}
            found[f"scores-{number}"] = Strip(printable(f"PSNR by method: {cell.name}"), "PSNR in dB", told)
    tasks = dict.fromkeys(cell.task for cell in board.cells.values() if len(cell.rows) > 1)
    for number, task in enumerate(tasks, 1):
        found[f"quality-time-{number}"] = quality_time(board, task)
    return found


def _loss(record: Record) -> Drawing | None:
    """The loss by epoch, on what is trained on and on what is held out; within a first epoch, by step."""
    epochs = record.all(EpochFinished)
    steps = [(event.step, event.loss) for event in record.all(Step) if event.loss is not None]
    if len(epochs) < 2:
        if len(steps) < 2:
            return None
        x, y = zip(*steps, strict=True)
        return Plot("Training loss", "step", "loss", [Curve("training", x, y, marks=False)], log_y=wants_log(y))
    places = [event.epoch for event in epochs]
    found = [Curve("training", places, [event.loss for event in epochs], marks=len(epochs) <= 40)]
    held = [(event.epoch, event.held_out) for event in epochs if event.held_out is not None]
    if held:
        x, y = zip(*held, strict=True)
        found.append(Curve("held out", x, y, marks=len(epochs) <= 40))
    best = record.last(BestModelStored)
    told = {"loss", "held_out"}
    spots = [Spot("best model", best.epoch, best.value)] if best and best.epoch and best.measure in told else []
    values = [value for curve in found for value in curve.y]
    return Plot("Loss by epoch", "epoch", "loss", found, spots=spots, log_y=wants_log(values))


def _by_timestep(record: Record) -> Drawing | None:
    """Where the error of eps lies, from little noise to much, after the first and the last epoch that measured it."""
    measured = [event for event in record.all(EpochFinished) if event.bands]
    if not measured:
        return None
    chosen = {event.epoch: event for event in (measured[0], measured[-1])}
    found = []
    for event in chosen.values():
        count = len(event.bands)
        found.append(Curve(f"epoch {event.epoch}", [(k + 0.5) / count for k in range(count)], event.bands))
    values = [value for event in chosen.values() for value in event.bands]
    return Plot("Error of eps by timestep", "t / T", "error of eps", found, log_y=wants_log(values))


def _psnr(record: Record) -> Drawing | None:
    """PSNR of the restorations on the way, with the truth-free stop and the peak of each image."""
    looks = record.all(PsnrMeasured)
    if not looks or not looks[0].psnr:
        return None
    steps, count = [look.step for look in looks], len(looks[0].psnr)
    # Where outputs are averaged, their average is the restoration: stop and peak are of it.
    values = [look.averaged or look.psnr for look in looks]
    images = [[row[image] if image < len(row) else float("nan") for row in values] for image in range(count)]
    average = Curve("mean", steps, [mean(row) for row in values], marks=False)
    if count == 1:
        found = [Curve("PSNR", steps, images[0], marks=False)]
    elif count <= FEW - 1:
        found = [average, *(Curve(f"image {k}", steps, row, marks=False) for k, row in enumerate(images))]
    else:
        found = [*(Curve(f"image {k}", steps, row, quiet=True) for k, row in enumerate(images)), average]
    end = record.last(StopsCompared)
    spots = []
    if end is not None:
        spots += [Spot("peak", at, value) for at, value in zip(end.peak_at, end.peak, strict=False)]
        spots += [Spot("stop", at, value) for at, value in zip(end.at, end.psnr, strict=False)]
    return Plot("PSNR of the restorations", "step", "PSNR in dB", found, spots=spots)


def _fit_loss(record: Record) -> Drawing | None:
    looks = [look for look in record.all(PsnrMeasured) if look.loss]
    if len(looks) < 2:
        return None
    losses = [mean(look.loss) for look in looks]
    curve = Curve("mean of the images", [look.step for look in looks], losses, marks=False)
    return Plot("Loss of the fit", "step", "loss", [curve], log_y=wants_log(losses))


def _panels(record: Record) -> dict[str, Drawing]:
    """The last picture of each name that shows several things side by side."""
    return {
        f"picture-{safe(event.name)}": Panels(
            printable(event.title), path, [printable(panel, 30) for panel in event.panels], event.columns
        )
        for event, path in record.pictures()
        if event.panels and event.columns
    }
