"""A run as an offline run of Weights & Biases, by its own library; `wandb sync` takes it from there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.events import ImageSaved
from core.export.record import Record, quiet, safe, scalars, step_of, time_of
from core.text import printable

PROJECT = "dipddpm"
QUIET = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
"""Nothing of this leaves the machine: neither the run nor what goes wrong in writing it."""


def write(record: Record, place: Path) -> None:
    """The history by step with its own times, pictures, the config and the results, under the run's own id."""
    with quiet(QUIET):
        import wandb

        told = record.glance.summary
        settings = wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_git=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        run = wandb.init(
            mode="offline",
            project=PROJECT,
            dir=str(place),
            id=safe(record.run.id),
            name=printable(record.title, 120),
            tags=[printable(tag, 60) for tag in (told.kind, told.method) if tag],
            config=msgspec.to_builtins(record.config) if record.config else {},
            settings=settings,
        )
        try:
            for step, row in rows(record):
                run.log({name: wandb.Image(str(v)) if isinstance(v, Path) else v for name, v in row.items()}, step=step)
            run.summary.update({**record.results(), "state": str(record.glance.state)})
        finally:
            run.finish()
            wandb.teardown()
    (made,) = (place / "wandb").glob("offline-run-*")
    made.rename(place / made.name)
    shutil.rmtree(place / "wandb")


def rows(record: Record) -> Iterator[tuple[int, dict[str, float | Path]]]:
    """For each step all that was told at it: numbers, pictures by their paths, and when; steps only rise."""
    pictures = {event.file: (event, path) for event, path in record.pictures()}
    began = time_of(record.history[0]) if record.history else 0.0
    found: dict[int, dict[str, float | Path]] = {}
    for event in record.history:
        told: dict[str, float | Path] = dict(scalars(event))
        if isinstance(event, ImageSaved) and pictures.get(event.file, (None,))[0] is event:
            told[f"images/{safe(event.name)}"] = pictures[event.file][1]
        if told:
            time = time_of(event)
            found.setdefault(step_of(event), {}).update(told, _timestamp=time, _runtime=time - began)
    yield from sorted(found.items())
