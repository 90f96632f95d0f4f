"""The parts that are whole runs: the board of the head-to-head and the study. They do as much as fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.gpu import runs
from benchmarks.gpu.parts import Settings
from benchmarks.gpu.records import Figure, Note
from dipddpm.core import config as configs
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import RestorationScored
from dipddpm.core.runs import Run, RunsFolder

SMALL_BOARD: dict[str, Any] = {
    "restore.tasks": ("denoise:sigma=50",),
    "restore.sets": ("fashion-mini", "patches"),
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
    """Restore with the hybrid `calibrated` and its baselines; report the cells that are done."""
    run = runs.find(settings, "board of record")
    if run is None:
        given = {"name": "board of record", "restore.methods": ("calibrated",), "device": settings.device}
        changes = SMALL_BOARD if settings.miniature else {}
        run = runs.create(settings, configs.build("restore", settings={**given, **changes}))
    finished = runs.carry_out(run, until)
    scores = [event for event in run.events() if isinstance(event, RestorationScored)]
    cells = {(score.task, score.set, score.seed) for score in scores}
    config = run.config()
    assert isinstance(config, configs.RestoreRun)
    images = len(cells) * config.restore.images
    note = f"of {config.restore.degradations}, {images:,} degraded images"
    yield Figure(name="degraded sets with a score", value=len(cells), unit="sets", precision="float32", note=note)
    if scores:
        yield Note("\n".join(Scoreboard(scores).lines(100)), "table")
    if not finished:
        yield Note(f"Stopped at {runs.progress(run)}; start again on the same folder to continue.", "unfinished")


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
