"""Events about the restoration of given pictures, whose truth is unknown, as text."""

from __future__ import annotations

from dipddpm.core import events
from dipddpm.core.means import Quality, mean, predicted_decibels, quality_mean
from dipddpm.tui.shared.durations import format_duration


def given_line(event: events.NoiseEstimated | events.MethodTried | events.TileRestored) -> str:
    """Describe what was found out about given pictures, or how far their restoration is."""
    match event:
        case events.NoiseEstimated():
            return f"Image {event.image}: {event.text}"
        case events.TileRestored():
            left = "" if event.seconds_left is None else f", {format_duration(event.seconds_left)} left"
            return f"Tile {event.tile} of {event.tiles} restored{left}"
    parts = []
    if event.held_out is not None:
        parts.append(f"held-out error {event.held_out:.2f} grey levels")
    if event.predicted_psnr is not None:
        parts.append(f"predicted PSNR {predicted_decibels(event.predicted_psnr, event.lower, event.upper)}")
    verb = "Chose" if event.chosen else "Tried"
    return f"{verb} {event.method} in {event.seconds:.1f} s: {', '.join(parts) or 'no result'}"


def quality_line(event: events.FitMeasured | events.QualityPredicted | events.SpreadMeasured) -> str:
    """Describe what is known about restorations besides their PSNR."""
    if isinstance(event, events.SpreadMeasured):
        return event.sentence
    if isinstance(event, events.FitMeasured):
        levels = event.noise or [None]
        quality = quality_mean([Quality(mean(event.residual), level) for level in levels])
        held_out = f", held-out error {mean(event.held_out):.1f}" if event.held_out else ""
        loss = f", loss {mean(event.loss):.5f}" if event.loss else ""
        return f"Iteration {event.step}: {quality.misfit_text}{held_out} grey levels{loss}"
    quality = Quality(event.residual, event.noise, event.predicted_psnr, event.lower, event.upper)
    spread = "" if event.spread is None else f", spread {event.spread:.1f}"
    held_out = "" if event.held_out is None else f", held-out error {event.held_out:.1f}"
    predicted = f"predicted PSNR {quality.prediction_text}; " if quality.prediction_text else ""
    return f"{event.name} by {event.method}: {predicted}{quality.misfit_text}{held_out}{spread} grey levels"
