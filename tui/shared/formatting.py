"""Events, scoreboards and durations as text, for the command line and the console's feed."""

from __future__ import annotations

from pathlib import Path

from dipddpm.core import events
from dipddpm.core.evaluation.boards import board_of
from dipddpm.core.evaluation.cell import YARDSTICKS
from dipddpm.core.evaluation.intervals import Interval
from dipddpm.core.events import Event
from dipddpm.core.io import atomic
from dipddpm.core.io.sanitize import printable
from dipddpm.core.means import (
    PsnrMean,
    decibels,
    mean,
    mean_without_infinite,
    psnr_mean,
)
from dipddpm.core.runs import CHECKPOINT_FILE, Run, RunState, RunStatus
from dipddpm.tui.shared.durations import format_duration
from dipddpm.tui.shared.given import given_line, quality_line
from dipddpm.tui.shared.results import result_lines

LARGEST_SCORE = 3e38
"""Scores above this stand for a missing one in the logs of earlier versions."""


def summary_lines(run: Run) -> list[str]:
    """Return the scores of a finished run; for several cells, only each hybrid beside its baselines.

    Without a truth, these are the results and what is known about them.
    """
    if results := result_lines(run):
        return results
    board = board_of(run.events())
    summary = board.summary() if len(board.cells) > 1 else []
    lines = [*summary, f"All methods and costs: dipddpm show {run.id}"] if summary else board.lines()
    return [*(printable(line) for line in lines), *restored_lines(run)]


def restored_lines(run: Run) -> list[str]:
    """Return where the restored images of a run lie as PNG files, and how to write all of them if some are missing."""
    each = [event for event in run.events() if isinstance(event, events.RestoredSaved) and event.files]
    if not each:
        return []
    saved = each[-1]
    results = [Path(event.out) if event.out else run.folder / event.files[0] for event in each]
    if len(each) > 1:  # each given file has its own event
        return [printable(f"Restored images: {len(each)} files in {results[0].parent}")]
    if len(saved.files) == 1:
        return [printable(f"Restored image, at its own size: {results[0]}")]
    lines = [f"Restored images, each at its own size: {results[0].parent / '*-restored.png'}"]
    if len(saved.files) < saved.images:
        count = f"{len(saved.files)} of {saved.images:,}"
        lines = [f"{lines[0]} ({count})", f"All of them: dipddpm export {run.id} --to images"]
    return [printable(line) for line in lines]


def scoreboard_lines(run: Run) -> list[str]:
    """Return a run's scoreboards and its conclusions from them; empty if the run has no scores."""
    return [printable(line) for line in board_of(run.events()).lines()]


def event_line(event: Event) -> str | None:
    """Describe an event in a line without control characters; None for an event that gets no line."""
    text = _event_text(event)
    return None if text is None else printable(text)


def _event_text(event: Event) -> str | None:  # noqa: PLR0911
    match event:
        case events.RunQueued(ahead=ahead):
            return f"Waiting for a slot on {event.device}: {ahead} ahead" if ahead else None
        case events.RunStarted():
            return _started(event)
        case events.RunResumed():
            return f"Resumed at step {event.from_step} on {event.device}"
        case events.DataLoaded():
            source = f"{event.dataset} {event.split}".rstrip()
            described = f"{source}: {_count(event.images, 'image')}, sha256 {event.sha256[:12]}"
            return "; ".join([described, *event.notes])
        case events.EpochFinished():
            best = " --> Best model ever (stored)" if event.best else ""
            return f"Loss at epoch {event.epoch}: {event.loss:.3f}{best}"
        case events.BestModelStored() if not event.epoch:
            no_score = event.value is None or event.value > LARGEST_SCORE
            value = "without a score" if no_score else f"{event.value:.4g}"
            return f"Best model at step {event.step}: {event.measure} {value} (stored)"
        case events.PsnrMeasured():
            loss = f", loss {mean(event.loss):.5f}" if event.loss else ""
            averaged = f" ({decibels(psnr_mean(event.averaged), '')} averaged)" if event.averaged else ""
            return f"Iteration {event.step}: PSNR {decibels(psnr_mean(event.psnr or [event.mean]))}{averaged}{loss}"
        case events.StageStarted():
            return stage_name(event)
        case events.NoiseEstimated() | events.MethodTried() | events.TileRestored():
            return given_line(event)
        case events.FitMeasured() | events.QualityPredicted() | events.SpreadMeasured():
            return quality_line(event)
        case events.EarlyStopped():
            psnr = "" if event.psnr is None else f": {decibels(event.psnr)}"
            return f"Image {event.image} stopped at iteration {event.at} by {event.rule}{psnr}"
        case events.StopsCompared():
            pairs = zip(event.peak, event.psnr, strict=False)
            gap = mean_without_infinite([0.0 if peak == at_stop else peak - at_stop for peak, at_stop in pairs])
            peaks, final = (decibels(psnr_mean(values), "") for values in (event.peak, event.final))
            return (
                f"Stopped by {event.rule}: {decibels(psnr_mean(event.psnr))}; the peaks were {peaks}"
                f" (gap {gap:.2f} on the mean), the last iteration {final}"
            )
        case events.ImageSaved():
            return f"Picture {event.file}{f': {event.title}' if event.title else ''}"
        case events.RestoredSaved():
            return _restored(event)
        case events.SamplesEvaluated():
            return f"{event.measure} {event.value:.4g} with {event.nfe} NFE ({event.protocol})"
        case events.RestorationScored():
            return _scored(event) if event.step else None  # at step 0 are the results of an earlier run
        case events.RestorationMissing() if event.failed and event.step:
            return f"{_task_and_set(event)}, {event.method} failed: {event.why}"
        case events.RestorationsCompared():
            return _compared(event)
        case events.PriorLoaded():
            model = f"the best model of {event.run}, {event.parameters:,} parameters, sha256 {event.sha256[:12]}"
            return f"{event.role or 'Prior'}: {model}"
        case events.Message():
            return f"Warning: {event.text}" if event.level == "warning" else event.text
        case events.RunFinished():
            return f"Finished in {format_duration(event.seconds)}"
        case events.RunFailed():
            return f"Failed: {event.error} {event.hint}"
        case events.RunStopped():
            return f"Stopped at step {event.step}: {event.reason}"
        case _:
            return None


def stage_name(event: events.StageStarted) -> str:
    """Return the number and title of a stage."""
    return f"Stage {event.stage} of {event.stages}: {event.title}"


def _started(event: events.RunStarted) -> str:
    length = {"epoch": event.epochs} if event.epochs else {"step": event.steps}
    numbers = {"image": event.images, **length, "parameter": event.parameters}
    parts = [_count(number, noun) for noun, number in numbers.items() if number]
    where = f"{event.device} ({event.device_name})" if event.device_name else event.device
    return f"{event.kind} {event.method} on {where}: {', '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _restored(event: events.RestoredSaved) -> str:
    if len(event.files) == 1:
        copy = f", copied to {event.out}" if event.out else ""
        return f"Restored image: {', '.join(event.files)}, at its own size{copy}"
    count = f"{len(event.files)} of {event.images:,}" if len(event.files) < event.images else f"all {event.images}"
    return f"Restored images: images/*-restored.png, {count}, each at its own size"


def _scored(event: events.RestorationScored) -> str:
    runs = f", mean of {event.runs}" if event.runs > 1 else ""
    budget = f" (in the time of {event.budget_of})" if event.budget_of else ""
    quality = decibels(psnr_mean(event.psnr))
    return f"{_task_and_set(event)}, {event.method}{runs}: {quality} in {event.seconds:.1f} s{budget}"


def _task_and_set(event: events.RestorationScored | events.RestorationMissing) -> str:
    return f"{event.task} on {event.set}" if event.set else event.task


def _compared(event: events.RestorationsCompared) -> str:
    numbers = {"cell": event.cells if event.cells > 1 else 0, "image": event.images, "seed": event.seeds}
    counted = ", ".join(_count(number, noun) for noun, number in numbers.items() if number)
    gain = ""
    if event.gain is not None:
        interval = Interval(event.gain, event.lower, event.upper, event.left_out)
        gain = f", {interval.text(' dB')} over {event.against or YARDSTICKS['plain']}"
    of = f", mean of {counted}" if counted else ""
    return f"{event.method}{of}: {decibels(PsnrMean(event.exact, event.psnr))}{gain}"


def resume_point(status: RunStatus) -> str:
    """Say where a resume begins and what it repeats; empty for a run that has not begun or has nothing to resume."""
    summary, live = status.summary, status.state is RunState.running
    if not (summary.started and (live or status.state.resumable)) or status.run.reference:
        return ""
    verb = "would resume" if live else "resumes"
    if not summary.checkpoint_time:
        return f"{verb} at step 0: there is no checkpoint"
    if not live and not atomic.is_file(status.run.folder / CHECKPOINT_FILE):
        return "can't be resumed: its checkpoint is gone"
    step = f"step {summary.checkpoint_step:,}"
    if summary.checkpoint_epoch < summary.epochs:
        point = f"epoch {summary.checkpoint_epoch + 1} of {summary.epochs}, {step}"
    else:
        point = f"{step} of {summary.steps:,}" if summary.steps else step
    repeated = summary.step - summary.checkpoint_step
    seconds = summary.last - summary.checkpoint_time
    duration = format_duration(max(0.0, seconds))
    if not live and repeated > 0:
        return f"{verb} at {point}; repeats {_count(repeated, 'step')} ({duration})"
    # The steps of a head-to-head are long, so it stores checkpoints within them as well.
    is_within_step = (
        summary.kind in {"restore", "acceleration", "map"} and status.state is not RunState.stopped and seconds >= 1
    )
    return f"{verb} at {point}" + (f"; repeats the last {duration}" if is_within_step and not live else "")
