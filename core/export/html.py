"""A run's report as one self-contained HTML file, which loads nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.acceleration import AccelerationBoard
from dipddpm.core.evaluation.boards import board_of
from dipddpm.core.evaluation.gain_map import MapBoard
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import (
    EpochFinished,
    Message,
    QualityPredicted,
    RunStarted,
    SamplesEvaluated,
    SpreadMeasured,
    StopsCompared,
)
from dipddpm.core.export.figures import drawings
from dipddpm.core.export.snapshot import Record
from dipddpm.core.io import records
from dipddpm.core.means import PsnrMean, Quality, decibels, psnr_mean
from dipddpm.core.report import acceleration, gain_map, plots, scoreboard
from dipddpm.core.report.document import (
    Block,
    BulletList,
    Code,
    Facts,
    FigureBlock,
    Heading,
    ImageBlock,
    Page,
    Table,
    Text,
)
from dipddpm.core.report.plots import ImagePanels
from dipddpm.core.report.style import PAGE
from dipddpm.core.runs import ENVIRONMENT_FILE, RunState
from dipddpm.core.runs.environment import Environment

MOST_EPOCHS = 30
"""Approximate number of rows in the table of epochs, evenly spaced; the best and the last epoch always have a row."""
MOST_BYTES = 24_000_000
"""Total size of the pictures in one page."""


def write(record: Record, path: Path) -> None:
    """Write the report as an HTML file."""
    path.write_text(report(record).html(), encoding="utf-8")


def report(record: Record) -> Page:
    """Return a page with the run's facts, results, scores, curves, epochs, pictures, messages and config."""
    board = board_of(record.history)
    scores = _scores(board)
    epochs = record.all(EpochFinished)
    remarks = [event.text for event in record.all(Message)]
    config = record.status.config
    chapters: dict[str, Sequence[Block]] = {
        "Results": _results(record),
        "Scores": [BulletList(board.verdicts()), *scores] if scores else [],
        "Curves": _curves(record),
        "Epochs": [_epochs(epochs)] if epochs else [],
        "Pictures": _pictures(record),
        "Remarks": [BulletList(remarks)] if remarks else [],
        "Config": [Code(configs.to_toml(config).strip(), "toml")] if config else [],
    }
    page = Page(record.title, [Facts(_facts(record))])
    summary, state = record.status.summary, record.status.state
    if state is RunState.failed:
        page.blocks.insert(0, Text(f"The run failed: {summary.error} {summary.hint}", notice=True))
    elif state is not RunState.finished:
        page.blocks.insert(0, Text(f"The run is {state}: this report shows what it has logged so far.", notice=True))
    for title, blocks in chapters.items():
        if blocks:
            page.blocks += [Heading(title), *blocks]
    return page


def _scores(board: Scoreboard) -> list[Block]:
    """Return the sections of a board's cells, in the form of its kind."""
    match board:
        case AccelerationBoard():
            return acceleration.cells(board)
        case MapBoard():
            return gain_map.cells(board)
        case _:
            return scoreboard.cells(board)


def _facts(record: Record) -> list[tuple[str, str]]:
    """Return the facts about a run; the device is the only fact about its machine."""
    summary, started = record.status.summary, record.last(RunStarted)
    environment = records.read(record.run.folder / ENVIRONMENT_FILE, Environment) or Environment()
    revision = f" ({environment.git})" if environment.git else ""
    packages = "".join(f", {name} {number}" for name, number in environment.packages.items())
    versions = f"dipddpm {environment.dipddpm}{revision}, Python {environment.python}{packages}"
    share = "" if summary.percent is None else f", {summary.percent}%"
    minutes = max(0.0, (summary.ended or summary.last) - summary.started) / 60
    facts = {
        "run": record.run.id,
        "kind": f"{summary.kind} {summary.method}",
        "state": str(record.status.state),
        "data": summary.dataset,
        "images": f"{started.images:,}" if started and started.images else "",
        "parameters": f"{started.parameters:,}" if started and started.parameters else "",
        "done": f"{f'{summary.epoch} epochs, ' if summary.epoch else ''}{summary.step:,} steps{share}",
        "time": f"{minutes:.1f} minutes" if summary.started else "",
        "device": (started.device_name or started.device) if started else summary.device,
        "seed": str(record.status.config.seed) if record.status.config else "",
        "made with": versions if environment.dipddpm else "",
    }
    return [(name, value) for name, value in facts.items() if value]


def _results(record: Record) -> list[Block]:
    summary = record.status.summary
    facts = []
    if summary.best_loss is not None:
        facts.append(("best loss", f"{summary.best_loss:.4f}, epoch {summary.best_epoch}"))
    if summary.loss is not None:
        facts.append(("last loss", f"{summary.loss:.4g}"))
    if (end := record.last(StopsCompared)) is not None and end.psnr:
        at_stop, peak, final = map(psnr_mean, (end.psnr, end.peak, end.final))
        facts += [
            (f"PSNR at the stop ({end.rule})", decibels(at_stop)),
            ("peak PSNR, known only with the truth", decibels(peak)),
            ("PSNR of the last iteration", decibels(final)),
        ]
    elif summary.psnr is not None:
        facts.append(("PSNR", decibels(PsnrMean(summary.exact, summary.psnr))))
    if summary.quality is not None:
        held_out = "" if summary.held_out is None else f"{summary.held_out:.1f} grey levels"
        known = {
            "predicted PSNR": summary.quality.prediction_text,
            "misfit to the measurements": f"{summary.quality.misfit_text} grey levels",
            "error at held-out measurements": held_out,
        }
        facts += [(name, text) for name, text in known.items() if text]
    facts += [("spread", event.sentence) for event in record.all(SpreadMeasured)]
    for event in record.all(SamplesEvaluated):
        facts.append((event.measure, f"{event.value:.4g} ({event.samples:,} samples, {event.protocol})"))
    blocks: list[Block] = [Facts(facts)] if facts else []
    if end is not None and end.psnr:
        columns = (end.at, end.psnr, end.peak_at, end.peak, end.final)
        rows = [
            [str(image), str(at), decibels(psnr, ""), str(peak_at), decibels(peak, ""), decibels(final, "")]
            for image, (at, psnr, peak_at, peak, final) in enumerate(zip(*columns, strict=False))
        ]
        blocks.append(Table(["image", "stopped at", "PSNR, dB", "peak at", "peak, dB", "last, dB"], rows))
    if judged := record.all(QualityPredicted):
        blocks.append(_qualities(judged))
    return blocks


def _qualities(judged: Sequence[QualityPredicted]) -> Table:
    """Return what is known without a truth about each picture, in grey levels but for the prediction."""
    rows = []
    for each in judged:
        quality = Quality(each.residual, each.noise, each.predicted_psnr, each.lower, each.upper)
        levels = ("" if level is None else f"{level:.1f}" for level in (each.residual, each.noise, each.spread))
        rows.append([each.name, each.method, *levels, quality.prediction_text])
    return Table(["picture", "method", "residual", "noise", "spread", "predicted PSNR"], rows)


def _curves(record: Record) -> list[Block]:
    try:
        figures = drawings(record)
    except UserError:  # there is nothing to draw
        return []
    return [
        FigureBlock(name, drawing.title, plots.draw(drawing, PAGE))
        for name, drawing in figures.items()
        if not isinstance(drawing, ImagePanels)  # the chapter of pictures shows these
    ]


def _epochs(epochs: Sequence[EpochFinished]) -> Table:
    every = -(-len(epochs) // MOST_EPOCHS)
    best = next((event for event in reversed(epochs) if event.best), None)
    shown = [e for number, e in enumerate(epochs, 1) if number % every == 0 or e is best or number == len(epochs)]
    rows = []
    for e in shown:
        held_out = "" if e.held_out is None else f"{e.held_out:.4f}"
        rows.append([str(e.epoch), f"{e.loss:.4f}", held_out, "stored" if e.best else "", f"{e.seconds:.1f}"])
    return Table(["epoch", "loss", "held out", "as best", "seconds"], rows)


def _pictures(record: Record) -> list[Block]:
    """Return the last picture of each name, up to `MOST_BYTES` in total."""
    last = {event.name: (event, path) for event, path in record.pictures()}
    blocks: list[Block] = []
    bytes_left = MOST_BYTES
    for event, path in last.values():
        bytes_left -= path.stat().st_size
        if bytes_left < 0:
            blocks.append(Text("The run's folder holds more pictures."))
            break
        title = " | ".join(filter(None, (event.title or event.name, *event.panels)))
        blocks.append(ImageBlock(path, title))
    return blocks
