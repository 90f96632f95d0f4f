"""A run's numbers as flat tables: CSV for spreadsheets, JSON lines for data frames and Parquet.

One table a kind of event, of the run's logical history: what a resume did again stands once. Every row has the run's
id first, so that tables of several runs can be joined, and the same columns of the same types.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.export.snapshot import Record
from dipddpm.core.io.sanitize import printable

_FORMULA = ("=", "+", "-", "@")


class TableRow(msgspec.Struct):
    """A line of a table; its fields are the columns."""

    run: str


class EpochRow(TableRow):
    """A pass over the training images."""

    epoch: int
    step: int
    time: float
    loss: float
    held_out: float | None
    best: bool
    lr: float | None
    images_per_second: float | None
    seconds: float


class StepRow(TableRow):
    """A logged step."""

    step: int
    epoch: int
    time: float
    loss: float | None
    lr: float | None
    images_per_second: float | None


class PsnrRow(TableRow):
    """One image at one look."""

    step: int
    time: float
    image: int
    psnr: float
    averaged: float | None
    ssim: float | None
    loss: float | None


class StopRow(TableRow):
    """One image at its truth-free stop, beside what was possible."""

    image: int
    rule: str
    at: int
    psnr: float
    ssim: float | None
    peak: float | None
    peak_at: int | None
    final: float | None


class ScoreRow(TableRow):
    """One image restored by one method."""

    task: str
    set: str
    method: str
    budget_of: str
    seed: int
    image: int
    psnr: float
    ssim: float | None
    recognised: bool | None
    nfe: int
    iterations: int
    runs: int
    seconds: float


class SampleRow(TableRow):
    """A distance between samples and a reference."""

    step: int
    time: float
    measure: str
    value: float
    samples: int
    nfe: int
    protocol: str


def tables(record: Record) -> dict[str, list[TableRow]]:
    """The tables that the run has, by name. Raises UserError for one that has told no number yet."""
    run = printable(record.run.id)
    iterators: dict[str, Iterable[TableRow]] = {
        "epochs": (_row_from_event(EpochRow, run, event) for event in record.all(events.EpochFinished)),
        "steps": (_row_from_event(StepRow, run, event) for event in record.all(events.Step)),
        "psnr": (row for measured in record.all(events.PsnrMeasured) for row in _psnr_rows(run, measured)),
        "stops": (row for stops in record.all(events.StopsCompared) for row in _stops(run, stops)),
        "scores": (row for scored in record.all(events.RestorationScored) for row in _scores(run, scored)),
        "samples": (_row_from_event(SampleRow, run, event) for event in record.all(events.SamplesEvaluated)),
    }
    rows = {name: list(built) for name, built in iterators.items()}
    if not any(rows.values()):
        raise UserError(f"The run {run} has no numbers yet.", "Export it when it has begun its work.")
    return {name: built for name, built in rows.items() if built}


def write_csv(record: Record, folder: Path) -> None:
    """A CSV file a table. Text that a spreadsheet would take for a formula is led by an apostrophe."""
    for name, rows in tables(record).items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(rows[0].__struct_fields__)
            writer.writerows(map(_cell, msgspec.structs.astuple(row)) for row in rows)


def write_jsonl(record: Record, folder: Path) -> None:
    """A file of JSON lines a table, every line with all keys; null for what is missing or isn't finite."""
    for name, rows in tables(record).items():
        with (folder / f"{name}.jsonl").open("wb") as file:
            file.writelines(msgspec.json.encode(_finite(row)) + b"\n" for row in rows)


def _row_from_event(kind: type[TableRow], run: str, event: Any) -> TableRow:
    """The row whose columns are fields of the event."""
    return kind(run=run, **{name: getattr(event, name) for name in kind.__struct_fields__ if name != "run"})


def _psnr_rows(run: str, measured: events.PsnrMeasured) -> Iterator[TableRow]:
    for image, psnr in enumerate(measured.psnr):
        averaged, ssim, loss = (_at(values, image) for values in (measured.averaged, measured.ssim, measured.loss))
        yield PsnrRow(
            run=run,
            step=measured.step,
            time=measured.time,
            image=image,
            psnr=psnr,
            averaged=averaged,
            ssim=ssim,
            loss=loss,
        )


def _stops(run: str, stops: events.StopsCompared) -> Iterator[TableRow]:
    for image, (at, psnr) in enumerate(zip(stops.at, stops.psnr, strict=False)):
        yield StopRow(
            run=run,
            image=image,
            rule=stops.rule,
            at=at,
            psnr=psnr,
            ssim=_at(stops.ssim, image),
            peak=_at(stops.peak, image),
            peak_at=_at(stops.peak_at, image),
            final=_at(stops.final, image),
        )


def _scores(run: str, scored: events.RestorationScored) -> Iterator[TableRow]:
    whole = {name: getattr(scored, name) for name in ("task", "set", "method", "budget_of", "seed", "nfe")}
    whole |= {name: getattr(scored, name) for name in ("iterations", "runs", "seconds")}
    for image, psnr in enumerate(scored.psnr):
        recognised = _at(scored.recognised, image)
        yield ScoreRow(run=run, image=image, psnr=psnr, ssim=_at(scored.ssim, image), recognised=recognised, **whole)


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else None


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _finite(row: TableRow) -> dict[str, Any]:
    values = zip(row.__struct_fields__, msgspec.structs.astuple(row), strict=True)
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values}
