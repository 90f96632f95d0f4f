"""The last lines that a command prints about the restoration of given pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dipddpm.core import events
from dipddpm.core.events import Event
from dipddpm.core.io.sanitize import printable
from dipddpm.core.means import Quality
from dipddpm.core.runs import Run

MOST_FILES = 10
"""The number of results that are named; the others are counted."""


def result_lines(run: Run) -> list[str]:
    """Return where the results lie, by which method, the noise that was found, and the predicted quality.

    Empty for a run that doesn't restore given pictures.
    """
    logged = run.events()
    predicted = {event.image: event for event in logged if isinstance(event, events.QualityPredicted)}
    saved = [event for event in logged if isinstance(event, events.RestoredSaved) and event.files]
    if not predicted or not saved:
        return []
    if len(saved) == 1 and len(predicted) == 1:
        return [printable(line) for line in _single(run, logged, saved[0], next(iter(predicted.values())))]
    by_name = {event.name: event for event in predicted.values()}
    lines = [f"{len(predicted)} restored pictures:"]
    for event in saved[:MOST_FILES]:
        name = Path(event.files[0]).stem.removesuffix("-restored")
        lines.append(f"  {_path(run, event)}" + (f"  {_quality(by_name[name])}" if name in by_name else ""))
    if len(saved) > MOST_FILES:
        lines.append(f"  and {len(saved) - MOST_FILES} more files in {_path(run, saved[-1]).parent}")
    return [printable(line) for line in [*lines, _more(run)]]


def _single(
    run: Run, logged: Sequence[Event], saved: events.RestoredSaved, quality: events.QualityPredicted
) -> list[str]:
    """Return the lines about one picture, each with its name."""
    tried = {event.method for event in logged if isinstance(event, events.MethodTried)}
    others = f", which predicted hidden measurements best of {len(tried)} methods" if len(tried) > 1 else ""
    lines = [f"Restored picture: {_path(run, saved)}", f"Method: {quality.method}{others}"]
    lines += [f"Noise: {event.text}" for event in logged if isinstance(event, events.NoiseEstimated)][-1:]
    known = _as_quality(quality)
    measured = [event for event in logged if isinstance(event, events.PsnrMeasured)]
    if measured:
        lines.append(f"PSNR: {measured[-1].mean:.2f} dB against the truth")
    if known.prediction_text:
        end = "" if measured else "; the truth is not known"
        lines.append(f"Predicted PSNR: {known.prediction_text} in 9 of 10 cases{end}")
    lines.append(f"Left over: {known.misfit_text} grey levels")
    return [*lines, _more(run)]


def _quality(event: events.QualityPredicted) -> str:
    text = _as_quality(event).prediction_text
    return event.method + (f", predicted PSNR {text}" if text else "")


def _as_quality(event: events.QualityPredicted) -> Quality:
    return Quality(event.residual, event.noise, event.predicted_psnr, event.lower, event.upper)


def _path(run: Run, saved: events.RestoredSaved) -> Path:
    return Path(saved.out) if saved.out else run.folder / saved.files[0]


def _more(run: Run) -> str:
    return f"Before and after, and what was changed: {run.folder / 'images'}, or dipddpm-tui"
