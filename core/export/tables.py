"""A run's numbers as flat tables: CSV for spreadsheets, JSON lines for data frames and Parquet; and its files.

One table a kind of event; what a resume did again stands once. Every row begins with the run's id, for joins.
"""

from __future__ import annotations

import contextlib
import csv
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
    "samples": (events.SamplesEvaluated, "step time measure value samples nfe protocol"),
}
"""For each table the event that its rows are made of, and which of the event's fields are its columns.

With a column `image` the table has a row for each image, and of a list that image's value.
"""
_FORMULA = ("=", "+", "-", "@")


def tables(record: Record) -> dict[str, list[Row]]:
    """The tables that the run has, by name. Raises UserError for one that has told no number yet."""
    run = printable(record.run.id)
    rows = {
        name: [{"run": run, **row} for event in record.all(kind) for row in _rows(event, columns.split())]
        for name, (kind, columns) in COLUMNS.items()
    }
    if not any(rows.values()):
        raise UserError(f"The run {run} has no numbers yet.", "Export it when it has begun its work.")
    return {name: built for name, built in rows.items() if built}


def write_csv(record: Record, folder: Path) -> None:
    """A CSV file a table. Text that a spreadsheet would take for a formula is led by an apostrophe."""
    for name, rows in tables(record).items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(rows[0])
            writer.writerows(map(_cell, row.values()) for row in rows)


def write_jsonl(record: Record, folder: Path) -> None:
    """A file of JSON lines a table, every line with all keys; null for what is missing or isn't finite."""
    for name, rows in tables(record).items():
        with (folder / f"{name}.jsonl").open("wb") as file:
            file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)


def write_files(record: Record, folder: Path) -> None:
    """The tables that the run has as CSV, its whole history as `run.json`, its config and its pictures."""
    with contextlib.suppress(UserError):  # no numbers yet
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
    for image in range(len(event.psnr) if "image" in columns else 1):
        yield {name: image if name == "image" else _of_image(getattr(event, name), image) for name in columns}


def _of_image(value: Any, image: int) -> Any:
    """A list's value for one image, None where the list is shorter; any other value as it is."""
    if not isinstance(value, list):
        return value
    return value[image] if image < len(value) else None


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
