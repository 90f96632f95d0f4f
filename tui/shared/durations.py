"""Durations as text."""

from __future__ import annotations

import math


def format_duration(seconds: float) -> str:
    """Format seconds as 41s, 3:05 or 2:10:00."""
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
