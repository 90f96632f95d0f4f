"""A run as a folder of files that any tool reads: CSV for spreadsheets, JSON for programs, PNG for papers."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import msgspec

from dipddpm.core.errors import UserError
from dipddpm.core.export.snapshot import Record
from dipddpm.core.export.tables import write_csv
from dipddpm.core.io import atomic, records
from dipddpm.core.runs import CONFIG_FILE


class _RunDocument(msgspec.Struct):
    id: str
    state: str
    config: dict[str, Any] | None
    summary: dict[str, Any]
    events: list[dict[str, Any]]


def write(record: Record, folder: Path) -> None:
    """The tables that the run has as CSV, all that it told as `run.json`, its config and its pictures."""
    with contextlib.suppress(UserError):  # no numbers yet
        write_csv(record, folder)
    document = _RunDocument(
        id=record.run.id,
        state=str(record.status.state),
        config=msgspec.to_builtins(record.config) if record.config else None,
        summary=msgspec.to_builtins(record.status.summary),
        events=[msgspec.to_builtins(event) for event in record.history],
    )
    atomic.write_atomic(folder / "run.json", records.dump(document), durable=False)
    for source in (*record.run.files(CONFIG_FILE), *record.run.files("images/*.png")):
        target = folder / source.relative_to(record.run.folder)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
