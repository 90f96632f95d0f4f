"""A run as a folder of files that any tool reads: CSV for spreadsheets, JSON for programs, PNG for papers."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import msgspec

from core import files, plain
from core.errors import UserError
from core.export.record import Record
from core.export.tables import write_csv
from core.runs import CONFIG_FILE


class _Json(msgspec.Struct):
    id: str
    state: str
    config: dict[str, Any] | None
    summary: dict[str, Any]
    events: list[dict[str, Any]]


def write(record: Record, place: Path) -> None:
    """The tables that the run has as CSV, all that it told as `run.json`, its config and its pictures."""
    with contextlib.suppress(UserError):  # no numbers yet
        write_csv(record, place)
    told = _Json(
        id=record.run.id,
        state=str(record.glance.state),
        config=msgspec.to_builtins(record.config) if record.config else None,
        summary=msgspec.to_builtins(record.glance.summary),
        events=[msgspec.to_builtins(event) for event in record.history],
    )
    files.replace(place / "run.json", plain.dump(told), durable=False)
    for source in (*record.run.files(CONFIG_FILE), *record.run.files("images/*.png")):
        target = place / source.relative_to(record.run.folder)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
