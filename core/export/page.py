"""A run's report: one HTML file with everything in it, that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core import config as configs
from core import plots, scoreboard
from core.errors import UserError
from core.events import EpochFinished, Message, RunStarted, SamplesEvaluated, StopsCompared
from core.export.figures import drawings
from core.export.record import Record, mean
from core.page import Block, Code, Facts, Heading, Page, Photo, Plot, Points, Table, Text
from core.plots import PAGE, Panels
from core.runs import State
from core.scores import Scoreboard

MOST_EPOCHS = 30
"""Rows of the table of epochs, evenly out of all; the best and the last are always among them."""
MOST_BYTES = 24_000_000
"""Of pictures in one page."""


def write(record: Record, path: Path) -> None:
    """The report as an HTML file."""
    path.write_text(report(record).html(), encoding="utf-8")


def report(record: Record) -> Page:
    """All that is worth telling of a run: what it is, what came of it, its curves, its scores and its pictures."""
    found = Page(record.title, [*_notices(record), Facts(_facts(record))])
    if results := _results(record):
        found.blocks += [Heading("Results"), *results]
    board = Scoreboard(record.history)
    if scores := scoreboard.cells(board):
        found.blocks += [Heading("Scores"), Points(board.verdicts()), *scores]
    if curves := _curves(record):
        found.blocks += [Heading("Curves"), *curves]
    if epochs := record.all(EpochFinished):
        found.blocks += [Heading("Epochs"), _epochs(epochs)]
    if pictures := _pictures(record):
        found.blocks += [Heading("Pictures"), *pictures]
    if remarks := [event.text for event in record.all(Message)]:
        found.blocks += [Heading("Remarks"), Points(remarks)]
    if record.config is not None:
        found.blocks += [Heading("Config"), Code(configs.to_toml(record.config).strip(), "toml")]
    return found


def _notices(record: Record) -> list[Block]:
    """That there is more to come, or less than was asked for."""
    told, state = record.glance.summary, record.glance.state
    if state is State.failed:
        return [Text(f"The run failed: {told.error} {told.hint}", notice=True)]
    if state is not State.finished:
        return [Text(f"The run is {state}: this is what it has told so far.", notice=True)]
    return []


def _facts(record: Record) -> list[tuple[str, str]]:
    """What the run is; where it ran is left out but for the device."""
    told, started, environment = record.glance.summary, record.last(RunStarted), record.environment
    share = "" if told.progress is None else f", {told.progress:.0%}"
    facts = {
        "run": record.run.id,
        "what": f"{told.kind} {told.method}",
        "state": str(record.glance.state),
        "data": told.dataset,
        "images": f"{started.images:,}" if started and started.images else "",
        "parameters": f"{started.parameters:,}" if started and started.parameters else "",
        "done": f"{f'{told.epoch} epochs, ' if told.epoch else ''}{told.step:,} steps{share}",
        "time": f"{max(0.0, (told.ended or told.last) - told.started) / 60:.1f} minutes" if told.started else "",
        "device": (started.device_name or started.device) if started else told.device,
        "seed": str(record.config.seed) if record.config else "",
        "made with": _versions(record) if environment else "",
    }
    return [(name, value) for name, value in facts.items() if value]


def _versions(record: Record) -> str:
    environment = record.environment
    assert environment is not None
    revision = f" ({environment.git})" if environment.git else ""
    packages = ", ".join(f"{name} {number}" for name, number in environment.packages.items())
    return f"dipddpm {environment.dipddpm}{revision}, Python {environment.python}, {packages}"


def _results(record: Record) -> list[Block]:
    told = record.glance.summary
    facts = [("best loss", f"{told.best_loss:.4f}, epoch {told.best_epoch}")] if told.best_loss is not None else []
    if told.loss is not None:
        facts.append(("last loss", f"{told.loss:.4g}"))
    if (end := record.last(StopsCompared)) is not None and end.psnr:
        at_stop, peak, final = map(mean, (end.psnr, end.peak, end.final))
        facts += [
            (f"PSNR at the stop ({end.rule})", f"{at_stop:.2f} dB"),
            ("PSNR at its peak, known only with the truth", f"{peak:.2f} dB"),
            ("PSNR of the last iteration", f"{final:.2f} dB"),
        ]
    elif told.psnr is not None:
        facts.append(("PSNR", f"{told.psnr:.2f} dB"))
    for event in record.all(SamplesEvaluated):
        facts.append((event.measure, f"{event.value:.4g} ({event.samples:,} samples, {event.protocol})"))
    found: list[Block] = [Facts(facts)] if facts else []
    if end is not None and end.psnr:
        found.append(_stops(end))
    return found


def _stops(end: StopsCompared) -> Table:
    columns = (end.at, end.psnr, end.peak_at, end.peak, end.final)
    rows = [
        [str(image), str(at), f"{psnr:.2f}", str(peak_at), f"{peak:.2f}", f"{final:.2f}"]
        for image, (at, psnr, peak_at, peak, final) in enumerate(zip(*columns, strict=False))
    ]
    return Table(["image", "stopped at", "PSNR, dB", "peak at", "peak, dB", "last, dB"], rows)


def _curves(record: Record) -> list[Block]:
    try:
        found = drawings(record)
    except UserError:  # nothing to draw
        return []
    return [
        Plot(name, drawing.title, plots.draw(drawing, PAGE))
        for name, drawing in found.items()
        if not isinstance(drawing, Panels)  # which stands among the pictures
    ]


def _epochs(epochs: Sequence[EpochFinished]) -> Table:
    every = -(-len(epochs) // MOST_EPOCHS)
    best = next((event for event in reversed(epochs) if event.best), None)
    shown = [e for place, e in enumerate(epochs, 1) if place % every == 0 or e is best or place == len(epochs)]
    rows = [
        [
            str(e.epoch),
            f"{e.loss:.4f}",
            "" if e.held_out is None else f"{e.held_out:.4f}",
            "stored" if e.best else "",
            f"{e.seconds:.1f}",
        ]
        for e in shown
    ]
    return Table(["epoch", "loss", "held out", "as best", "seconds"], rows)


def _pictures(record: Record) -> list[Block]:
    """The last picture of each name, as far as there is room."""
    last = {event.name: (event, path) for event, path in record.pictures()}
    found: list[Block] = []
    room = MOST_BYTES
    for event, path in last.values():
        room -= path.stat().st_size
        if room < 0:
            found.append(Text("There are more pictures in the run's folder."))
            break
        title = " | ".join(filter(None, (event.title or event.name, *event.panels)))
        found.append(Photo(path, title))
    return found
