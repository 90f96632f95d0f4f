"""The parts that are whole runs: the board of the head-to-head and the study. They do as much as fits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from benchmarks.gpu import runs
from benchmarks.gpu.parts import Settings
from benchmarks.gpu.records import Figure, Note
from dipddpm.core import config as configs
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import RestorationScored
from dipddpm.core.runs import Run, RunsFolder

LEAST_SECONDS = 20.0
"""Time below which no new cell is begun."""
SMALL_BOARD: dict[str, Any] = {
    "restore.tasks": ("denoise:sigma=50",),
    "restore.sets": ("fashion-mini",),
    "restore.controls": False,
    "restore.images": 2,
    "restore.seeds": 1,
    "dip.iterations": 20,
    "dip.channels": 8,
}
SMALL_STUDY: dict[str, Any] = {
    "data.train_images": 128,
    "study.epochs": 1,
    "study.images": "0-1",
    "study.sample_steps": 5,
    "study.iterations": 20,
    "explanation.train_images": 40,
    "explanation.test_images": 20,
    "explanation.epochs": 1,
    "explanation.seeds": 2,
    "explanation.steps": "0,2,4,6",
    "explanation.fixed": 4,
    "restore.tasks": ("denoise:sigma=50",),
    "restore.sets": ("fashion-mini",),
    "restore.methods": ("prior-init",),
    "restore.controls": False,
    "restore.images": 2,
    "restore.seeds": 1,
}


def board(settings: Settings, until: float) -> Iterator[Figure | Note]:
    """Restore with the hybrid `calibrated` and its baselines, cell by cell; report the board so far."""
    given = {"restore.methods": ("calibrated",), "device": settings.device}
    whole = configs.build("restore", settings={**given, **(SMALL_BOARD if settings.miniature else {})})
    assert isinstance(whole, configs.RestoreRun)
    cells = [(task, name) for task in whole.restore.tasks for name in whole.restore.sets]
    scores: list[RestorationScored] = []
    finished = 0
    for task, name in cells:
        # A run for each cell: only the one that is interrupted needs its checkpoint, which is large.
        one = msgspec.structs.replace(whole.restore, tasks=(task,), sets=(name,))
        config = msgspec.structs.replace(whole, name=f"board: {task} on {name}", restore=one)
        run = runs.find(settings, config.name)
        if run is None and time.monotonic() > until - LEAST_SECONDS:
            break
        run = run or runs.create(settings, config)
        finished += runs.carry_out(run, until)
        scores += [event for event in run.events() if isinstance(event, RestorationScored)]
    yield Figure(name="cells", value=finished, unit="cells", precision="float32", note=f"of {len(cells)}")
    degraded = {(score.task, score.set, score.seed) for score in scores if score.method == "calibrated"}
    images = len(degraded) * whole.restore.images
    yield Figure(name="degraded images restored by calibrated", value=images, unit="images", precision="float32")
    if scores:
        yield Note("\n".join(Scoreboard(scores).lines(100)), "table")
    if finished < len(cells):
        left = len(cells) - finished
        yield Note(f"{left} of {len(cells)} cells are left; start again on the same folder to continue.", "unfinished")


def study(settings: Settings, until: float) -> Iterator[Figure | Note]:
    """Reproduce the study with its long trainings; report the stages that are done and the report so far."""
    run = runs.find(settings, "study")
    if run is None:
        given: dict[str, Any] = {"name": "study", "study.full": not settings.miniature}
        preset, changes = ("quick", SMALL_STUDY) if settings.miniature else (None, {})
        run = runs.create(settings, configs.build("study", preset=preset, settings={**given, **changes}))
    finished = runs.carry_out(run, until)
    for stage in RunsFolder(settings.runs_folder).runs():
        if stage.config().name.startswith("study: "):
            status = stage.status()
            seconds = sum_of_seconds(stage)
            note = f"{status.state}, {runs.progress(stage)}"
            yield Figure(name=stage.config().name, value=seconds, unit="s", precision="float32", note=note)
    report = run.folder / "report.md"
    if report.is_file():
        yield Note(report.read_text(encoding="utf-8"), "table")
    if not finished:
        yield Note(f"Stopped at {runs.progress(run)}; start again on the same folder to continue.", "unfinished")


def sum_of_seconds(run: Run) -> float:
    """Return the time from a run's start to its end, or to its last event."""
    summary = run.status().summary
    return (summary.ended or summary.last) - summary.started
