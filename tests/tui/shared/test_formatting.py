"""Events as lines of text: their wording, and None for events that get no line."""

from __future__ import annotations

import math

import pytest

from dipddpm.core import events
from dipddpm.core.events import Event
from dipddpm.tui.shared.formatting import event_line, format_duration


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
