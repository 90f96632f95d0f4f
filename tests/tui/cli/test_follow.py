"""The function that `run`, `resume` and `watch` follow a run with."""

from __future__ import annotations

import shutil
import time

import pytest

from dipddpm.core import events
from dipddpm.core.launch import local
from dipddpm.core.runs import EventLog, Run, RunState
from dipddpm.tui.cli import follow
from tests.helpers import append_events, record_calls
from tests.tui.driving import Maker, dipddpm


def test_follow_reads_no_status_without_progress_display(
    make: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(losses=[1 / number for number in range(1, 40)])
    monkeypatch.setattr(follow, "STATUS_SECONDS", 0.0)  # as if every status took longer than the interval
    statuses = record_calls(monkeypatch, Run, "status")
    assert follow.follow(run) == 0
    assert "Loss at epoch 39: 0.026" in capsys.readouterr().out
    assert len(statuses) <= 2, "one to see the end of the run, one for its exit code"


def test_follow_prints_repeated_epochs_once(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make(state="crashed", losses=[0.5, 0.4])
    log = EventLog(run.folder)
    checkpoint = log.size
    log.append(events.EpochFinished(epoch=3, step=30, loss=0.3))
    log.append(events.RunResumed(from_step=20, from_epoch=2, from_offset=checkpoint))
    log.append(events.EpochFinished(epoch=3, step=30, loss=0.3))
    log.append(events.RunFinished(seconds=1.0))
    log.close()
    assert follow.follow(run) == 0
    output = capsys.readouterr().out
    assert [output.count(f"Loss at epoch {number}:") for number in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize(("state", "code"), [("crashed", 1), ("stopped", 130)])
def test_follow_prints_where_resume_begins(
    make: Maker, capsys: pytest.CaptureFixture[str], state: str, code: int
) -> None:
    run = make(state=state, losses=[0.5])
    assert follow.follow(run) == code
    printed = capsys.readouterr().err
    assert f"Resume it with: dipddpm resume {run.id}\n" in printed
    assert "It resumes at " in printed


def test_follow_reports_vanished_run(
    make: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(state="running")
    monkeypatch.setattr(time, "sleep", lambda _: shutil.rmtree(run.folder, ignore_errors=True))
    monkeypatch.setattr(follow, "STATUS_SECONDS", 0.0)
    assert follow.follow(run) == 1
    assert f"{run.id} can't be followed" in capsys.readouterr().err


def lines_of(*happened: events.Event) -> list[str]:
    lines = follow.EventLines()
    return [line for event in happened for line in lines(event)]


def stage(number: int, title: str) -> events.StageStarted:
    return events.StageStarted(step=0, title=title, stage=number, stages=3)


def psnr(step: int, value: float) -> events.PsnrMeasured:
    return events.PsnrMeasured(step=step, psnr=[value], mean=value)


def test_event_lines_give_each_stage_one_line_with_its_last_psnr() -> None:
    scored = events.RestorationScored(task="denoise", method="calibrated", psnr=[29.0], seconds=1.0, step=220)
    assert lines_of(
        events.RunStarted(kind="hybrid", method="calibrated", device="cpu", steps=400),
        stage(1, "DIP fit"),
        *(psnr(step, step / 10) for step in range(10, 200, 10)),
        stage(2, "one step"),
        stage(3, "diffusion"),
        psnr(210, 28.0),
        psnr(220, 29.0),
        scored,
    )[1:] == [
        "Stage 1 of 3: DIP fit, PSNR 19.00 dB",
        "Stage 2 of 3: one step",
        "Stage 3 of 3: diffusion, PSNR 29.00 dB",
        "denoise, calibrated: 29.00 dB in 1.0 s",
    ]


def test_event_lines_keep_order_of_messages_and_stages() -> None:
    happened = [stage(1, "DIP fit"), psnr(10, 20.0), events.Message(text="between"), psnr(20, 21.0)]
    assert lines_of(*happened, stage(2, "diffusion"), events.RunFinished(seconds=3.0)) == [
        "Stage 1 of 3: DIP fit, PSNR 20.00 dB",
        "between",
        "Stage 1 of 3: DIP fit, PSNR 21.00 dB",
        "Stage 2 of 3: diffusion",
        "Finished in 3s",
    ]


def test_event_lines_show_ten_psnrs_of_run_without_stages() -> None:
    started = events.RunStarted(kind="dip", method="skip", device="cpu", steps=1000)
    measured = [psnr(step, 20.0) for step in range(10, 1001, 10)]
    printed = lines_of(started, *measured, events.RunFinished(seconds=3.0))[1:-1]
    assert [line.split(":")[0] for line in printed] == [f"Iteration {step}" for step in range(100, 1001, 100)]


def test_event_lines_leave_out_series_of_pictures_and_stops() -> None:
    numbered = events.ImageSaved(file="images/fit-000100.png", name="fit", step=100)
    final = events.ImageSaved(file="images/restored.png", name="restored", step=100, title="Restored")
    stopped = events.EarlyStopped(step=100, image=0, at=90, rule="discrepancy")
    assert lines_of(numbered, stopped, final) == ["Picture images/restored.png: Restored"]


def stopped(make: Maker) -> Run:
    run = make(state="stopped", losses=[0.5, 0.4])
    assert run.status().state is RunState.stopped
    return run


def test_follow_after_resume_prints_new_lines_only(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    run = stopped(make)
    past = follow.Past(run)
    log = EventLog(run.folder)
    log.append(events.RunResumed(from_step=20, from_epoch=2, from_offset=log.size, device="cpu"))
    log.append(events.EpochFinished(epoch=3, step=30, loss=0.3))
    log.append(events.RunFinished(seconds=1.0))
    log.close()
    assert follow.follow(run, past=past) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == ["Resumed at step 20 on cpu", "Loss at epoch 3: 0.300", "Finished in 1s"]
    assert not any("epoch 2" in line or "Stopped" in line for line in printed[:3])


def test_follow_after_resume_waits_for_worker_that_is_still_starting(
    make: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log still ends with the earlier stop; the worker writes its first line after several checks of the state."""
    run = stopped(make)
    checks = []

    def find_process(one: Run) -> str:
        checks.append(one)
        if len(checks) == 3:
            append_events(run, events.RunResumed(from_step=20, device="cpu"), events.RunFinished(seconds=1.0))
        return "The last worker"

    monkeypatch.setattr(local, "find_process", find_process)
    monkeypatch.setattr(follow, "STATUS_SECONDS", 0.0)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.0)
    assert follow.follow(run, past=follow.Past(run)) == 0
    assert len(checks) == 3
    assert "Finished in 1s" in capsys.readouterr().out


@pytest.mark.parametrize(("goes_on", "code"), [(False, 2), (True, 1)])
def test_follow_after_resume_distinguishes_refusal_from_failure(make: Maker, goes_on: bool, code: int) -> None:
    run = stopped(make)
    past = follow.Past(run)
    resumed = [events.RunResumed(from_step=20, device="cpu")] * goes_on
    append_events(run, events.RunQueued(device="cpu"), *resumed, events.RunFailed(error="Other data.", hint="Fork."))
    assert follow.follow(run, past=past) == code


def test_follow_after_resume_reports_worker_that_died_without_a_line(
    make: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped(make)
    monkeypatch.setattr(follow, "STATUS_SECONDS", 0.0)
    assert follow.follow(run, past=follow.Past(run)) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert f"The worker of {run.id} ended without logging why." in output.err


@pytest.mark.parametrize(("count", "files"), [(1, 1), (3, 3), (250, 100)])
def test_run_ends_and_show_begins_with_restored_files(
    make: Maker, capsys: pytest.CaptureFixture[str], count: int, files: int
) -> None:
    names = [f"images/test-{index}-restored.png" for index in range(files)]
    run = make("dip", psnr=[20.0])
    log = EventLog(run.folder)
    log.append(events.RestoredSaved(files=names, images=count))
    log.close()
    path = run.folder / (names[0] if count == 1 else "images/*-restored.png")
    assert dipddpm("watch", run.id) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith(f": {path}") or f": {path} (" in line for line in lines[-2:])
    assert (lines[-1] == f"All of them: dipddpm export {run.id} --to images") == (files < count)
    assert dipddpm("show", run.id) == 0
    assert f"restored     {path}" in capsys.readouterr().out
