"""Export of a run as an offline run of Weights & Biases, through its own library; `wandb sync` uploads it."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dipddpm.core.events import ImageSaved
from dipddpm.core.export.snapshot import Record, safe_name, scalars, step_of, temporary_environ
from dipddpm.core.io import output
from dipddpm.core.io.sanitize import printable

PROJECT = "dipddpm"
QUIET = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
"""Environment variables that keep the run and error reports on this machine."""


def write(record: Record, folder: Path) -> None:
    """Write history, pictures, config and results of a run, with its own id and its original times."""
    with temporary_environ(QUIET), _quiet_logging():
        import wandb

        summary = record.status.summary
        settings = wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_git=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        try:
            run = wandb.init(
                mode="offline",
                project=PROJECT,
                dir=str(folder),
                id=safe_name(record.run.id),
                name=printable(record.title, 120),
                tags=[printable(tag, 60) for tag in (summary.kind, summary.method) if tag],
                config=msgspec.to_builtins(record.status.config) if record.status.config else {},
                settings=settings,
            )
            try:
                for step, row in rows(record):
                    values = {name: wandb.Image(str(v)) if isinstance(v, Path) else v for name, v in row.items()}
                    run.log(values, step=step)
                run.summary.update({**record.results(), "state": str(record.status.state)})
            finally:
                run.finish()
        finally:
            wandb.teardown()  # W&B's process keeps the run's id until it ends
    output.probe(folder)  # W&B's own process reports no error if the disk is full
    (offline_run,) = (folder / "wandb").glob("offline-run-*")
    offline_run.rename(folder / offline_run.name)
    shutil.rmtree(folder / "wandb")


@contextlib.contextmanager
def _quiet_logging() -> Iterator[None]:
    """Let logging print no traceback for each line that W&B can't log on a full disk."""
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before


def rows(record: Record) -> Iterator[tuple[int, dict[str, float | Path]]]:
    """Yield each step in ascending order with its numbers, the paths of its pictures and its time."""
    pictures = {event.file: (event, path) for event, path in record.pictures()}
    began = record.began
    row_by_step: dict[int, dict[str, float | Path]] = {}
    for event in record.history:
        values: dict[str, float | Path] = dict(scalars(event))
        if isinstance(event, ImageSaved) and pictures.get(event.file, (None,))[0] is event:
            values[f"images/{safe_name(event.name)}"] = pictures[event.file][1]
        if values:
            time = event.time
            row_by_step.setdefault(step_of(event), {}).update(values, _timestamp=time, _runtime=time - began)
    yield from sorted(row_by_step.items())
