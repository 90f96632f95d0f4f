"""Events as lines of text: their wording, and None for events that get no line."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.events import Event
from dipddpm.core.runs import CHECKPOINT_FILE, Run, RunsFolder, heartbeat
from dipddpm.tui.shared.durations import format_duration
from dipddpm.tui.shared.formatting import event_line, resume_point
from tests.helpers import append_events, this_process


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            events.EpochFinished(epoch=3, step=1, loss=0.0499, best=True),
            "Loss at epoch 3: 0.050 --> Best model ever (stored)",
        ),
        (events.EpochFinished(epoch=4, step=1, loss=0.5), "Loss at epoch 4: 0.500"),
        (events.EpochFinished(epoch=4, step=1, loss=math.nan), "Loss at epoch 4: nan"),
        (events.RunQueued(device="cpu"), None),
        (events.RunQueued(device="cuda:0", ahead=2), "Waiting for a slot on cuda:0: 2 ahead"),
        (
            events.RunStarted(kind="ddpm", method="unet", device="cpu", epochs=3, images=60_000, parameters=506_852),
            "ddpm unet on cpu: 60,000 images, 3 epochs, 506,852 parameters",
        ),
        (
            events.RunStarted(kind="dip", method="skip", device="cpu", steps=1, images=1),
            "dip skip on cpu: 1 image, 1 step",
        ),
        (events.DataLoaded(dataset="files", split="", images=1, sha256="0"), "files: 1 image, sha256 0"),
        (events.RunResumed(from_step=7, device="cpu"), "Resumed at step 7 on cpu"),
        (events.Step(step=1, loss=0.5), None),
        (events.CheckpointStored(step=1, file="f", sha256="0"), None),
        (events.BestModelStored(step=1, epoch=2, value=0.5, file="f", sha256="0"), None),
        (
            events.PsnrMeasured(step=10, psnr=[20.0, 22.0], mean=21.0, loss=[0.1, 0.3], averaged=[23.0]),
            "Iteration 10: PSNR 21.00 dB (23.00 averaged), loss 0.20000",
        ),
        (
            events.EarlyStopped(step=9, image=2, at=7, rule="ema", psnr=24.0),
            "Image 2 stopped at iteration 7 by ema: 24.00 dB",
        ),
        (
            events.BestModelStored(step=7, measure="variance", file="f", sha256="0"),
            "Best model at step 7: variance without a score (stored)",
        ),
        (
            events.BestModelStored(step=1, measure="variance", value=3.4028234663852886e38, file="f", sha256="0"),
            "Best model at step 1: variance without a score (stored)",
        ),
        (
            events.PsnrMeasured(step=10, psnr=[math.inf, 22.0], mean=math.inf, averaged=[math.inf]),
            "Iteration 10: PSNR 22.00 dB, 1 exact (exact averaged)",
        ),
        (
            events.EarlyStopped(step=9, image=2, at=7, rule="ema", psnr=math.inf),
            "Image 2 stopped at iteration 7 by ema: exact",
        ),
        (
            events.StopsCompared(
                step=3, rule="never", at=[3], psnr=[math.inf], peak=[math.inf], peak_at=[3], final=[math.inf]
            ),
            "Stopped by never: exact; the peaks were exact (gap 0.00 on the mean), the last iteration exact",
        ),
        (events.Message(text="a\x1b[2Jb"), "a\\x1b[2Jb"),
        (events.Message(text="hot", level="warning"), "Warning: hot"),
        (events.RunFinished(seconds=185), "Finished in 3:05"),
        (events.RunFailed(error="Bad.", hint="Do."), "Failed: Bad. Do."),
        (events.RunStopped(reason="asked to stop", step=5), "Stopped at step 5: asked to stop"),
    ],
)
def test_event_line_describes_each_event(event: Event, words: str | None) -> None:
    assert event_line(event) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (7265, "2:01:05"), (math.inf, "?")],
)
def test_format_duration_uses_clock_notation(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_event_line_compares_stops_with_peaks() -> None:
    event = events.StopsCompared(
        step=300,
        rule="variance",
        at=[200, 250],
        psnr=[26.0, 24.0],
        peak=[26.5, 24.1],
        peak_at=[220, 260],
        final=[25, 23],
    )
    assert event_line(event) == (
        "Stopped by variance: 25.00 dB; the peaks were 25.30 (gap 0.30 on the mean), the last iteration 24.00"
    )


def interrupted(runs: RunsFolder, *recorded: Event, kind: str = "ddpm", epochs: int = 20) -> Run:
    """Create a run of 100 steps an epoch that ended after these events, each a second after the one before."""
    run = runs.create(configs.build(kind))
    begun = events.RunStarted(kind=kind, method="", device="cpu", epochs=epochs, steps=100 * (epochs or 6))
    for second, event in enumerate((begun, *recorded), 1_000):
        append_events(run, msgspec.structs.replace(event, time=second))
    (run.folder / CHECKPOINT_FILE).touch()
    return run


STORED = events.CheckpointStored(step=1407, epoch=2, file="f", sha256="0")
FAILED = events.RunFailed(error="e", hint="h", step=1450)


@pytest.mark.parametrize(
    ("recorded", "options", "text"),
    [
        ((STORED, events.Step(step=1450)), {}, "resumes at epoch 3 of 20, step 1,407; repeats 43 steps (1s)"),
        ((STORED, events.Step(step=1407), FAILED), {}, "resumes at epoch 3 of 20, step 1,407; repeats 43 steps (2s)"),
        ((STORED, events.Step(step=1408)), {}, "resumes at epoch 3 of 20, step 1,407; repeats 1 step (1s)"),
        ((STORED, events.RunStopped(reason="asked", step=1407)), {}, "resumes at epoch 3 of 20, step 1,407"),
        ((events.Step(step=7),), {}, "resumes at step 0: there is no checkpoint"),
        ((STORED, events.RunFinished(seconds=1)), {}, ""),
        ((STORED,), {"epochs": 2}, "resumes at step 1,407 of 200"),
        (
            (events.CheckpointStored(step=0, file="f", sha256="0"),),
            {"kind": "restore", "epochs": 0},
            "resumes at step 0 of 600",
        ),
        (
            (events.CheckpointStored(step=0, file="f", sha256="0"), events.Step(step=0)),
            {"kind": "restore", "epochs": 0},
            "resumes at step 0 of 600; repeats the last 1s",
        ),
        ((STORED,), {"kind": "dip", "epochs": 0}, "resumes at step 1,407 of 600"),
    ],
)
def test_resume_point(runs: RunsFolder, recorded: tuple[Event, ...], options: dict[str, Any], text: str) -> None:
    assert resume_point(interrupted(runs, *recorded, **options).status()) == text


def test_resume_point_is_the_one_after_resume(runs: RunsFolder) -> None:
    """A resume voids what it repeats, checkpoints included."""
    again = events.RunResumed(from_step=100, from_epoch=1)
    run = interrupted(runs, msgspec.structs.replace(STORED, step=100, epoch=1), again, events.Step(step=103))
    assert resume_point(run.status()) == "resumes at epoch 2 of 20, step 100; repeats 3 steps (2s)"


def test_resume_point_of_live_and_of_new_run(tmp_path: Path) -> None:
    runs = RunsFolder(tmp_path)  # the shared fixture would kill this process, which is the worker
    run = interrupted(runs, STORED, events.Step(step=1450))
    heartbeat.write(run.folder, heartbeat.Worker(this_process(), alive=time.time()))
    assert resume_point(run.status()) == "would resume at epoch 3 of 20, step 1,407"
    assert resume_point(runs.create(configs.build("dip")).status()) == ""


def test_resume_point_without_its_file(runs: RunsFolder) -> None:
    run = interrupted(runs, STORED)
    (run.folder / CHECKPOINT_FILE).unlink()
    assert resume_point(run.status()) == "can't be resumed: its checkpoint is gone"
