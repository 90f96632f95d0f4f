"""A benchmark of checkpoints: how many a run stores by default, and which share of its time they take."""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import msgspec
import typer

from dipddpm.core import config as configs
from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import CheckpointStored, EpochFinished, RunStarted
from dipddpm.core.launch import local
from dipddpm.core.runs import CHECKPOINT_FILE, RunsFolder, RunState
from dipddpm.tui.cli.output import print_table


class CheckpointFigures(msgspec.Struct, frozen=True):
    """The checkpoints of one run; `share` is the time that they took, divided by the time of the run."""

    count: int
    megabytes: float
    seconds: float
    """Median time of one checkpoint."""
    share: float
    gap: float
    """Most seconds from one checkpoint to the next."""
    epochs: int
    stored_epochs: int
    """Epochs that ended with a checkpoint."""


def measure(
    kind: Annotated[str, typer.Argument(help="The kind of run, ddpm or dip.")] = "ddpm",
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as for dipddpm run.")] = None,
) -> None:
    """Measure the checkpoints of a run with the default settings, in a temporary folder."""
    given = {"data.dataset": "fashion-mini", "device": "cpu", **dict(one.split("=", 1) for one in settings or [])}
    row = figures(configs.build(kind, settings=given))
    print_table(
        [
            ("CHECKPOINTS", "MB", "SECONDS", "SHARE", "LONGEST GAP", "EPOCHS", "WITH CHECKPOINT"),
            (
                str(row.count),
                f"{row.megabytes:.1f}",
                f"{row.seconds:.3f}",
                f"{row.share:.2%}",
                f"{row.gap:.1f} s",
                str(row.epochs),
                str(row.stored_epochs),
            ),
        ]
    )


def figures(config: AnyRun) -> CheckpointFigures:
    """Carry out a run, and return the figures of its checkpoints from its log."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunsFolder(Path(folder)).create(config)
        local.start(run, now=True)
        while (state := run.status().state).live:
            time.sleep(0.1)
        if state is not RunState.finished:
            raise UserError(f"The run is {state}. {run.status().summary.error}", "Choose other settings.")
        events = run.events()
        size = (run.folder / CHECKPOINT_FILE).stat().st_size
    stored = [event for event in events if isinstance(event, CheckpointStored)]
    ended = {event.epoch for event in events if isinstance(event, EpochFinished)}
    began = next(event.time for event in events if isinstance(event, RunStarted))
    times = [began, *(event.time for event in stored)]
    return CheckpointFigures(
        count=len(stored),
        megabytes=size / 1e6,
        seconds=median(event.seconds for event in stored),
        share=sum(event.seconds for event in stored) / (events[-1].time - began),
        gap=max(later - earlier for earlier, later in itertools.pairwise(times)),
        epochs=len(ended),
        stored_epochs=len(ended & {event.epoch for event in stored}),
    )
