"""A run's numbers as flat tables, CSV for spreadsheets and JSON lines for data frames and Parquet, and its files.

There is one table per kind of event; steps that a resume repeated appear once. Every row begins with the run's id.
"""

from __future__ import annotations

import contextlib
import csv
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.export.snapshot import Record
from dipddpm.core.io import atomic, records
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import CONFIG_FILE

Row: TypeAlias = dict[str, Any]
COLUMNS: dict[str, tuple[type[events.Event], str]] = {
    "epochs": (events.EpochFinished, "epoch step time loss held_out best lr images_per_second seconds"),
    "steps": (events.Step, "step epoch time loss lr images_per_second"),
    "psnr": (events.PsnrMeasured, "step time image psnr averaged ssim loss"),
    "stops": (events.StopsCompared, "image rule at psnr ssim peak peak_at final"),
    "scores": (
        events.RestorationScored,
        "task set method budget_of seed image psnr ssim recognised nfe iterations runs seconds",
    ),
    "fit": (events.FitMeasured, "step time image residual noise held_out loss"),
    "noise": (events.NoiseEstimated, "image kind sigma lower upper photons hit certainty"),
    "methods": (events.MethodTried, "method held_out predicted_psnr lower upper seconds chosen"),
    "quality": (
        events.QualityPredicted,
        "image name method step residual noise spread held_out predicted_psnr lower upper",
    ),
    "spread": (events.SpreadMeasured, "image method step spread error samples half wide wide_level"),
    "samples": (events.SamplesEvaluated, "step time measure value samples nfe protocol"),
}
"""The event type of each table, and the event's fields that are its columns.

A table with a column `image` has a row for each image; a field that is a list then gives that image's value. Some
events are about one image, whose index they hold.
"""
_FORMULA = ("=", "+", "-", "@")


def tables(record: Record) -> dict[str, list[Row]]:
    """Return the run's non-empty tables by name. Raises UserError for a run without numbers."""
    run = printable(record.run.id)
    rows = {
        name: [{"run": run, **row} for event in record.all(kind) for row in _rows(event, columns.split())]
        for name, (kind, columns) in COLUMNS.items()
    }
    if not any(rows.values()):
        raise UserError(f"The run {run} has no numbers yet.", "Export it once it has logged its first results.")
    return {name: table for name, table in rows.items() if table}


def write_csv(record: Record, folder: Path) -> None:
    """Write a CSV file per table. NaN is an empty cell, and the PSNR of an exact image `inf`.

    An apostrophe precedes text that a spreadsheet would read as a formula.
    """
    for name, rows in tables(record).items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(rows[0])
            writer.writerows(map(_cell, row.values()) for row in rows)


def write_jsonl(record: Record, folder: Path) -> None:
    """Write a JSON lines file per table; every line has all keys, with null for missing and non-finite numbers."""
    for name, rows in tables(record).items():
        with (folder / f"{name}.jsonl").open("wb") as file:
            file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)


def write_files(record: Record, folder: Path) -> None:
    """Write the run's tables as CSV, its whole history as `run.json`, its config and its pictures."""
    with contextlib.suppress(UserError):  # the run has no numbers yet
        write_csv(record, folder)
    document = {
        "id": record.run.id,
        "state": str(record.status.state),
        "config": msgspec.to_builtins(record.status.config),
        "summary": msgspec.to_builtins(record.status.summary),
        "events": msgspec.to_builtins(record.history),
    }
    atomic.write_atomic(folder / "run.json", records.dump(document), durable=False)
    for source in (*record.run.files(CONFIG_FILE), *record.run.files("images/*.png")):
        target = folder / source.relative_to(record.run.folder)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)


def _rows(event: Any, columns: list[str]) -> Iterator[Row]:
    lists_images = "image" in columns and not hasattr(event, "image")
    lists: dict[type, str] = {events.FitMeasured: "residual", events.SpreadMeasured: "spread"}
    measured = getattr(event, lists.get(type(event), "psnr")) if lists_images else [0]
    first = getattr(event, "first", 0)
    for image in range(len(measured)):
        yield {name: _of_image(getattr(event, name, first + image), image) for name in columns}


def _of_image(value: Any, image: int) -> Any:
    """Return a list's value for one image, None if the list is too short, and any other value unchanged."""
    if not isinstance(value, list):
        return value
    return value[image] if image < len(value) else None


def _cell(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return ""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
