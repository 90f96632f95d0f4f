"""A run's figures for papers: as wide as a column, as vector graphics, in colours for colour-blind readers too."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Literal

from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.acceleration import AccelerationBoard
from dipddpm.core.evaluation.boards import board_of
from dipddpm.core.evaluation.gain_map import MapBoard
from dipddpm.core.evaluation.rows import MethodScores
from dipddpm.core.events import (
    BestModelStored,
    EarlyStopped,
    EpochFinished,
    FitMeasured,
    PsnrMeasured,
    Step,
    StopsCompared,
)
from dipddpm.core.export.snapshot import Record, safe_name
from dipddpm.core.io.sanitize import printable
from dipddpm.core.means import mean, psnr_mean
from dipddpm.core.report import acceleration, gain_map, plots
from dipddpm.core.report.plots import Curve, Drawing, ImagePanels, LinePlot, Marker, StripPlot, wants_log
from dipddpm.core.report.scoreboard import quality_time
from dipddpm.core.report.style import COLUMN

KINDS: tuple[Literal["pdf", "svg", "png"], ...] = ("pdf", "svg", "png")
FEW = 7
"""Largest number of curves that get a colour each; with more curves only the mean is highlighted."""


def write(record: Record, folder: Path) -> None:
    """Write each drawing as PDF, SVG and PNG (300 dots per inch), 8.5 cm wide."""
    for name, drawing in drawings(record).items():
        for kind in KINDS:
            content = io.BytesIO()  # on a full disk, matplotlib's writers raise errors of their own
            plots.save(drawing, content, COLUMN, kind)
            (folder / f"{name}.{kind}").write_bytes(content.getvalue())


def drawings(record: Record) -> dict[str, Drawing]:
    """Return all drawings of the run by name. Raises UserError if there are none."""
    candidates: dict[str, Drawing | None] = {
        "loss": _loss(record),
        "loss-by-timestep": _by_timestep(record),
        "psnr": _psnr(record),
        "misfit": _misfit(record),
        "fit-loss": _fit_loss(record),
        **_scores(record),
        **_panels(record),
    }
    drawn = {name: drawing for name, drawing in candidates.items() if drawing is not None}
    if not drawn:
        problem = f"The run {printable(record.run.id)} has nothing to draw yet."
        raise UserError(problem, "Export it once it has logged its first results.")
    return drawn


def _scores(record: Record) -> dict[str, Drawing]:
    """Return the scoreboard's drawings: all methods of each cell, and quality against time for each task.

    A comparison of starts has one figure: quality against time for each cell.
    """
    board = board_of(record.history)
    if isinstance(board, AccelerationBoard):
        return {"acceleration": acceleration.figure(board)}
    if isinstance(board, MapBoard):
        return {"map": gain_map.figure(board)}
    drawings_by_name: dict[str, Drawing] = {}
    for number, cell in enumerate(board.cells.values(), 1):
        if cell.rows:
            rows = {
                _label(row): [value for value in row.psnr if value < math.inf] for row in cell.rows.values() if row.psnr
            }
            title = printable(f"PSNR by method: {cell.name}")
            drawings_by_name[f"scores-{number}"] = StripPlot(title, "PSNR in dB", rows)
    tasks = dict.fromkeys(cell.task for cell in board.cells.values() if len(cell.rows) > 1)
    for number, task in enumerate(tasks, 1):
        drawings_by_name[f"quality-time-{number}"] = quality_time(board, task)
    return drawings_by_name


def _loss(record: Record) -> Drawing | None:
    """Plot the training and held-out losses by epoch; before the end of the second epoch, plot the loss by step."""
    epochs = record.all(EpochFinished)
    steps = [(event.step, event.loss) for event in record.all(Step) if event.loss is not None]
    if len(epochs) < 2:
        if len(steps) < 2:
            return None
        x, y = zip(*steps, strict=True)
        return LinePlot("Training loss", "step", "loss", [Curve("training", x, y, marks=False)], log_y=wants_log(y))
    epoch_numbers = [event.epoch for event in epochs]
    curves = [Curve("training", epoch_numbers, [event.loss for event in epochs], marks=len(epochs) <= 40)]
    held_out = [(event.epoch, event.held_out) for event in epochs if event.held_out is not None]
    if held_out:
        x, y = zip(*held_out, strict=True)
        curves.append(Curve("held out", x, y, marks=len(epochs) <= 40))
    best = record.last(BestModelStored)
    loss_measures = {"loss", "held_out"}
    markers = []
    if best and best.epoch and best.value is not None and best.measure in loss_measures:
        markers = [Marker("best model", best.epoch, best.value)]
    values = [value for curve in curves for value in curve.y]
    return LinePlot("Loss by epoch", "epoch", "loss", curves, markers=markers, log_y=wants_log(values))


def _by_timestep(record: Record) -> Drawing | None:
    """Plot the error of eps against the timestep, for the first and the last epoch that measured it."""
    measured = [event for event in record.all(EpochFinished) if event.bands]
    if not measured:
        return None
    chosen = {event.epoch: event for event in (measured[0], measured[-1])}
    curves = []
    for event in chosen.values():
        count = len(event.bands)
        curves.append(Curve(f"epoch {event.epoch}", [(k + 0.5) / count for k in range(count)], event.bands))
    values = [value for event in chosen.values() for value in event.bands]
    return LinePlot("Error of eps by timestep", "t / T", "error of eps", curves, log_y=wants_log(values))


def _label(row: MethodScores) -> str:
    """Return a method's name, and the number of its exact images, which have no place on an axis of PSNR."""
    name = printable(row.label, 30)
    return f"{name}, {row.mean.exact} exact" if row.mean.exact else name


def _psnr(record: Record) -> Drawing | None:
    """Plot PSNR against the step, with the truth-free stop and the peak of each image."""
    measurements = record.all(PsnrMeasured)
    if not measurements or not measurements[0].psnr:
        return None
    steps, count = [measured.step for measured in measurements], len(measurements[0].psnr)
    # If outputs are averaged, their average is the restoration, and stop and peak refer to it.
    values = [measured.averaged or measured.psnr for measured in measurements]
    images = [[row[image] if image < len(row) else float("nan") for row in values] for image in range(count)]
    average = Curve("mean", steps, [psnr_mean(row).value for row in values], marks=False)
    if count == 1:
        curves = [Curve("PSNR", steps, images[0], marks=False)]
    elif count <= FEW - 1:
        curves = [average, *(Curve(f"image {k}", steps, row, marks=False) for k, row in enumerate(images))]
    else:
        curves = [*(Curve(f"image {k}", steps, row, background=True) for k, row in enumerate(images)), average]
    end = record.last(StopsCompared)
    markers = []
    if end is not None:
        markers += [Marker("peak", at, value) for at, value in zip(end.peak_at, end.peak, strict=False)]
        markers += [Marker("stop", at, value) for at, value in zip(end.at, end.psnr, strict=False)]
    return LinePlot("PSNR of the restorations", "step", "PSNR in dB", curves, markers=markers)


def _misfit(record: Record) -> Drawing | None:
    """Plot the residual and the noise level, which a fit without a truth stops at, against the step."""
    measurements = record.all(FitMeasured)
    if len(measurements) < 2:
        return None
    steps, count = [measured.step for measured in measurements], min(len(each.residual) for each in measurements)
    curves = [Curve("residual", steps, [mean(measured.residual) for measured in measurements], marks=False)]
    if 1 < count < FEW:
        rows = ([measured.residual[image] for measured in measurements] for image in range(count))
        curves += [Curve(f"residual {image}", steps, row, background=True) for image, row in enumerate(rows)]
    levels = [[level for level in measured.noise if level is not None] for measured in measurements]
    if all(levels):
        curves.append(Curve("noise level", steps, [mean(known) for known in levels], marks=False))
    if all(measured.held_out for measured in measurements):
        held_out = [mean(measured.held_out) for measured in measurements]
        curves.append(Curve("held-out error", steps, held_out, marks=False))
    markers = []
    for stop in record.all(EarlyStopped):
        nearest = min(measurements, key=lambda measured: abs(measured.step - stop.at))
        if stop.image < len(nearest.residual):
            markers.append(Marker("stop", stop.at, nearest.residual[stop.image]))
    return LinePlot("Misfit to the measurements", "step", "grey levels", curves, markers=markers)


def _fit_loss(record: Record) -> Drawing | None:
    every: list[PsnrMeasured | FitMeasured] = [*record.all(PsnrMeasured), *record.all(FitMeasured)]
    measurements = [measured for measured in every if measured.loss]
    if len(measurements) < 2:
        return None
    losses = [mean(measured.loss) for measured in measurements]
    curve = Curve("mean of the images", [measured.step for measured in measurements], losses, marks=False)
    return LinePlot("Loss of the fit", "step", "loss", [curve], log_y=wants_log(losses))


def _panels(record: Record) -> dict[str, Drawing]:
    """Return the last picture of each name that has several panels."""
    return {
        f"picture-{safe_name(event.name)}": ImagePanels(
            printable(event.title), path, [printable(panel, 40) for panel in event.panels], event.columns
        )
        for event, path in record.pictures()
        if event.panels and event.columns
    }
