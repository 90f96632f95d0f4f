"""The study with real workers, which share one slot."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from dipddpm.core import config as configs
from dipddpm.core.config import StudyRun
from dipddpm.core.events import Message, RunFailed, RunQueued
from dipddpm.core.launch import local
from dipddpm.core.runs import LOG_FILE, Run, RunsFolder, RunState
from tests.helpers import Until

TINY = {
    "data.train_images": 32,
    "study.epochs": 1,
    "study.images": "0-1",
    "study.iterations": 5,
    "study.sample_steps": 1,
    "explanation.train_images": 40,
    "explanation.test_images": 20,
    "explanation.epochs": 1,
    "explanation.seeds": 2,
    "explanation.steps": "0,1,2,4",
    "explanation.fixed": 2,
    "explanation.baseline_images": 64,
    "explanation.baseline_epochs": 1,
    "explanation.baseline_samples": 128,
    "explanation.baseline_steps": 2,
    "restore.tasks": ("denoise:sigma=50",),
    "restore.sets": ("fashion-mini",),
    "restore.images": 2,
    "restore.methods": ("guided",),
    "threads": 1,
}
PATIENCE = 900.0


def study(**settings: Any) -> StudyRun:
    config = configs.build("study", preset="quick", settings=TINY | settings)
    assert isinstance(config, StudyRun)
    return config


def of_kind(runs: RunsFolder, kind: str) -> list[Run]:
    return [run for run in runs.runs() if run.status().summary.kind == kind]


def messages(run: Run) -> list[str]:
    return [event.text for event in run.events() if isinstance(event, Message)]


@pytest.mark.durability
def test_study_run_resumes_after_kill_and_reuses_finished_runs(
    runs: RunsFolder, until: Until, shipped: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPDDPM_SLOTS", "1")
    config = study(**{"prior.run": str(shipped.folder)})
    run = runs.create(config)
    local.start(run)
    (first,) = until(lambda: of_kind(runs, "ddpm"), PATIENCE)
    until(lambda: of_kind(runs, "dip"), PATIENCE)
    # The study holds no slot; otherwise no stage could have started.
    assert not any(isinstance(event, RunQueued) and event.ahead for event in run.events())
    assert local.send_signal(run, signal.SIGKILL)
    until(lambda: run.status().state is RunState.crashed)
    local.resume(run)
    until(lambda: not run.status().state.live, PATIENCE)
    assert run.status().state is RunState.finished, (run.folder / LOG_FILE).read_text()

    assert of_kind(runs, "ddpm") == [first]
    assert {len(of_kind(runs, kind)) for kind in ("dip", "hybrid", "explanation", "restore")} == {1}
    assert all(one.status().state is RunState.finished for one in runs.runs())
    assert any(f"{first.id}, finished before" in text for text in messages(run))
    html, markdown = ((run.folder / f"report.{kind}").read_text() for kind in ("html", "md"))
    for one in runs.runs():
        assert (one.id in html) == (one != run)
    assert "This stage has no finished run yet." not in markdown
    assert all((run.folder / "images" / f"{name}.png").is_file() for name in ("ddpm", "dip", "substitution"))

    again = runs.create(config)
    local.start(again)
    until(lambda: not again.status().state.live, PATIENCE)
    assert len(runs.runs()) == 7
    assert sum("finished before" in text for text in messages(again)) == 5


@pytest.mark.slow
def test_study_stop_and_resume_reach_its_stage(runs: RunsFolder, until: Until) -> None:
    run = runs.create(study(**{"study.epochs": 500}))
    local.start(run)
    (stage,) = until(lambda: of_kind(runs, "ddpm"), PATIENCE)
    until(lambda: stage.status().summary.step, PATIENCE)
    assert local.stop(run, request=60.0) is RunState.stopped
    assert stage.status().state is RunState.stopped
    local.resume(run)
    until(lambda: stage.status().state is RunState.running, PATIENCE)
    assert not any(isinstance(event, RunFailed) for event in run.events()), "the study must wait for the resumed stage"
    local.stop(stage)
    until(lambda: not run.status().state.live, PATIENCE)
    failed = next(event for event in run.events() if isinstance(event, RunFailed))
    assert "is stopped" in failed.error
    assert of_kind(runs, "ddpm") == [stage]
