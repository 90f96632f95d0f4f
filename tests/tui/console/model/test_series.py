"""The series of one run, above all that a resumed run gives the same series as its logical history."""

from __future__ import annotations

import itertools
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import events
from dipddpm.core.events import Event
from dipddpm.core.runs import history
from dipddpm.tui.console.model.curves import AXES, StepValue
from dipddpm.tui.console.model.series import RunSeries

START = events.RunStarted(time=100.0, kind="ddpm", method="unet", device="cpu", epochs=10, steps=100)


def series_of(*log: Event) -> RunSeries:
    run = RunSeries()
    run.feed(log)
    return run


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Draw a worker's log: steps never decrease except when the run is resumed, after an end event or without one."""
    log: list[Event] = [START]
    step, time = 0, 100.0
    for kind in draw(st.lists(st.sampled_from("sssepbtio!r"), max_size=60)):
        time += draw(st.sampled_from([0.0, 0.5, 30.0]))
        value = draw(st.floats(0, 2) | st.just(math.nan))
        step += kind in "sep"
        match kind:
            case "s":
                log.append(events.Step(time=time, step=step, epoch=step // 10 + 1, loss=value, lr=1e-3))
            case "e":
                held_out = value + 1 if step % 3 else None
                log.append(
                    events.EpochFinished(
                        time=time, epoch=step // 10, step=step, loss=value, best=step % 2 == 0, held_out=held_out
                    )
                )
            case "p":
                psnr = [value + image for image in range(1 + step % 3)]
                log.append(events.PsnrMeasured(time=time, step=step, psnr=psnr, mean=value, loss=[value]))
            case "b":
                log.append(events.BestModelStored(time=time, step=step, value=value, file="b", sha256=""))
            case "t":
                log.append(events.EarlyStopped(time=time, step=step, image=step % 3, at=step, rule="r", psnr=value))
            case "i":
                log.append(events.ImageSaved(time=time, step=step, file=f"images/{step % 4}.png", name=f"p{step % 2}"))
            case "o":
                log.append(events.Message(time=time, text="hello"))
            case "!":
                log.append(events.RunStopped(time=time, reason="asked", step=step))
            case _:
                line = draw(st.none() | st.integers(0, len(log)))
                # The run resumes after the last step before `line` that isn't already void.
                kept = [event for event in history(log) if line is None or event.offset < line]
                step = max((getattr(event, "step", 0) for event in kept), default=0)
                log.append(events.RunResumed(time=time, from_step=step, from_offset=line, device="cpu"))
        log[-1] = msgspec.structs.replace(log[-1], offset=len(log) - 1)
    return log


def _content(run: RunSeries) -> str:
    """Return everything that a screen can show of the run."""
    return repr(
        (
            [run.loss(axis, weight) for axis in AXES for weight in (0.0, 0.8)],
            [run.best_marks(axis) for axis in AXES],
            [(run.rates(axis), run.limit(axis)) for axis in AXES],
            run.psnr(),
            run.pictures(),
            run.recent_events(0),
            run.steps(),
            [run.values_at(step) for step in range(12)],
            (run.step, run.epoch, run.ended, run.epochs, run.axes()),
        )
    )


@given(logs(), st.lists(st.integers(1, 10), max_size=10))
def test_series_of_resumed_run_equal_its_logical_history(log: list[Event], sizes: list[int]) -> None:
    incremental = RunSeries()
    remaining = iter(log)
    for size in itertools.chain(sizes, itertools.repeat(len(log) + 1)):
        batch = list(itertools.islice(remaining, size))
        if not batch:
            break
        incremental.feed(batch)
        _content(incremental)  # drawing in between must not change the result
    assert _content(incremental) == _content(series_of(*history(log)))


def test_generation_increases_on_resume_and_reset() -> None:
    run = series_of(START)
    first = run.generation
    run.feed([events.RunResumed(time=1, from_step=0)])
    assert run.generation == first + 1
    run.reset()
    assert run.generation == first + 2
    assert run.started is None


def test_loss_has_raw_and_smoothed_series() -> None:
    run = series_of(START, *(events.Step(time=101.0, step=step, loss=step * 1.0) for step in range(1, 5)))
    raw, smoothed = run.loss("step", 0.5)
    assert (raw.faint, raw.marks_non_finite, smoothed.faint, smoothed.marks_non_finite) == (True, True, False, False)
    assert list(raw.y) == [1, 2, 3, 4]
    (only,) = run.loss("step", 0.0)
    assert not only.faint
    assert only.marks_non_finite


def test_loss_of_fit_is_mean_over_images() -> None:
    run = series_of(START, events.PsnrMeasured(time=101.0, step=10, psnr=[20.0, 22.0], mean=21.0, loss=[0.1, 0.3]))
    assert list(run.loss()[0].y) == [pytest.approx(0.2)]


def test_loss_by_epoch_includes_held_out() -> None:
    run = series_of(START, events.EpochFinished(time=101.0, epoch=1, step=10, loss=0.5, best=True, held_out=0.6))
    loss, held_out = run.loss("epoch")
    assert (list(loss.x), list(loss.y), list(held_out.y)) == ([1.0], [0.5], [0.6])
    assert run.best_marks("epoch")[0][:2] == (1.0, 0.6)


def test_best_marks_name_only_last_best_epoch_best() -> None:
    finished = [
        events.EpochFinished(time=101.0, epoch=epoch, step=epoch * 10, loss=1 / epoch, best=epoch != 2)
        for epoch in (1, 2, 3, 4)
    ]
    assert [(mark.x, mark.kind) for mark in series_of(START, *finished).best_marks("epoch")] == [
        (1.0, "was best"),
        (3.0, "was best"),
        (4.0, "best"),
    ]


def test_loss_positions_steps_within_their_epoch() -> None:
    run = series_of(
        START,
        events.Step(time=101.0, step=5, loss=1.0),
        events.EpochFinished(time=102.0, epoch=1, step=10, loss=1.0),
        events.Step(time=103.0, step=15, loss=1.0),
        events.Step(time=104.0, step=29, loss=1.0),
    )
    assert list(run.loss("epoch")[0].x) == [
        0.5,
        1.5,
        2.0,
    ]  # a step past the expected end stays there until the epoch ends


def test_time_axis_excludes_pause_before_resume() -> None:
    run = series_of(
        START,
        events.Step(time=110.0, step=1, loss=1.0),
        events.RunStopped(time=111.0, reason="asked", step=1),
        events.RunResumed(time=9000.0, from_step=1),
        events.Step(time=9005.0, step=2, loss=1.0),
    )
    assert list(run.loss("time")[0].x) == [10.0, 15.0]


def test_psnr_has_peak_and_stop_of_each_image() -> None:
    run = series_of(
        START,
        *(
            events.PsnrMeasured(time=101.0, step=step, psnr=[value, value + 1], mean=value + 0.5)
            for step, value in ((10, 20.0), (20, 25.0), (30, math.nan), (40, 23.0))
        ),
        events.EarlyStopped(time=102.0, step=40, image=0, at=20, rule="r", psnr=25.0),
    )
    mean, first, second = run.psnr()
    assert (mean.label, first.label) == ("mean", "image 0")
    assert (mean.peak, first.peak, second.peak) == (StepValue(20, 25.5), StepValue(20, 25.0), StepValue(20, 26.0))
    assert (first.stop, second.stop, mean.stop) == (StepValue(20, 25.0), None, None)
    run.feed([events.EarlyStopped(time=103.0, step=40, image=1, at=40, rule="r", psnr=24.0)])
    assert run.psnr()[0].stop == StepValue(40, 24.5)


def test_psnr_drops_voided_peak_and_stop_on_resume() -> None:
    run = series_of(
        START,
        events.PsnrMeasured(time=101.0, step=10, psnr=[20.0], mean=20.0, offset=10),
        events.PsnrMeasured(time=102.0, step=20, psnr=[30.0], mean=30.0, offset=20),
        events.EarlyStopped(time=102.0, step=20, image=0, at=20, rule="r", psnr=30.0, offset=30),
        events.RunResumed(time=103.0, from_step=10, from_offset=15),
    )
    assert run.psnr()[0].peak == run.psnr()[1].peak == StepValue(10, 20.0)
    assert run.psnr()[1].stop is None


def test_psnr_has_curve_of_averaged_outputs() -> None:
    run = series_of(START, events.PsnrMeasured(time=101.0, step=10, psnr=[20.0], mean=20.0, averaged=[21.0]))
    assert [(curve.image, curve.peak) for curve in run.psnr()] == [
        (-1, StepValue(10, 20.0)),
        (-2, StepValue(10, 21.0)),
        (0, StepValue(10, 20.0)),
    ]


def test_psnr_of_late_image_is_nan_before_it_joins() -> None:
    run = series_of(
        START,
        events.PsnrMeasured(time=101.0, step=10, psnr=[20.0], mean=20.0),
        events.PsnrMeasured(time=102.0, step=20, psnr=[21.0, 25.0], mean=23.0),
        events.PsnrMeasured(time=103.0, step=30, psnr=[22.0], mean=22.0),
    )
    late = run.psnr()[2]
    assert [math.isnan(value) for value in late.y] == [True, False, True]
    assert late.peak == StepValue(20, 25.0)


def test_pictures_follow_steps_and_count_rewritten_file_once() -> None:
    run = series_of(
        START,
        *(
            events.ImageSaved(time=101.0, file=file, name="restored", step=step)
            for file, step in (("a.png", 10), ("b.png", 20), ("b.png", 30))
        ),
    )
    assert [(picture.file, picture.step) for picture in run.pictures()["restored"]] == [("a.png", 10), ("b.png", 30)]

    def shown(step: int) -> str:
        picture = run.picture("restored", step)
        assert picture is not None
        return picture.file

    assert shown(29) == "a.png"
    assert shown(30) == "b.png"
    assert shown(0) == "a.png"
    assert run.picture("truth", 30) is None


def test_limit_is_planned_end_then_actual_end() -> None:
    run = series_of(START, events.Step(time=105.0, step=7, loss=1.0))
    assert (run.limit("step"), run.limit("epoch"), run.limit("time")) == (100, 10, None)
    run.feed([events.RunStopped(time=106.0, reason="asked", step=7)])
    assert (run.limit("step"), run.limit("time")) == (7, 5)


def test_recent_events_returns_unseen_events() -> None:
    run = series_of(START, events.Step(time=101.0, step=1, loss=1.0), events.Message(time=102.0, text="one"))
    seen = run.event_count
    assert [type(event).__name__ for event in run.recent_events(0)] == ["RunStarted", "Message"]
    run.feed([events.Message(time=103.0, text="two")])
    assert [event.text for event in run.recent_events(seen) if isinstance(event, events.Message)] == ["two"]
    assert run.recent_events(run.event_count) == []


def test_values_at_returns_last_known_values() -> None:
    run = series_of(
        START,
        events.Step(time=101.0, step=1, loss=3.0),
        events.PsnrMeasured(time=102.0, step=2, psnr=[20.0], mean=20.0),
        events.Step(time=104.0, step=4, loss=1.0),
    )
    assert run.values_at(3).loss == 3.0
    assert run.values_at(3).psnr == (0, 20.0)
    assert run.values_at(1).psnr is None
    assert run.x_of(4, "time") == 4.0
    assert run.x_of(0, "time") == 0.0
