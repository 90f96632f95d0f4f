"""The columns of the run list, and the formatting of their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from dipddpm.core.io.sanitize import printable
from dipddpm.core.means import PsnrMean, Quality, decibels
from dipddpm.core.runs import RunState
from dipddpm.tui.shared.durations import format_duration

if TYPE_CHECKING:
    from dipddpm.tui.shared.groups import GroupRow
    from dipddpm.tui.shared.runlist import RunRow

STATE_SIGNS: dict[str, tuple[str, str]] = {
    "running": ("●", "live"),
    "stalled": ("◐", "warn"),
    "queued": ("○", "live"),
    "finished": ("✓", "good"),
    "reference": ("◆", "good"),
    "stopped": ("■", "dim"),
    "failed": ("✗", "bad"),
    "crashed": ("!", "bad"),
    "broken": ("?", "bad"),
}
"""state -> its sign, and the tone in which the sign is drawn."""


def state_name(row: RunRow) -> str:
    """Return the run's state, as a key of `STATE_SIGNS`."""
    return "reference" if row.reference else "stalled" if row.stalled else str(row.state)


@dataclass(frozen=True)
class Column:
    """One column. Columns of the highest rank are left out first if there is no room for all."""

    key: str
    title: str
    width: int
    text: Callable[[RunRow], str]
    rank: int
    align_right: bool = False
    elastic: bool = False
    dimmed: bool = False
    uses_state_tone: bool = False


def group_cells(group: GroupRow) -> dict[str, str]:
    """Return the texts of a group's header, by column key; the other columns are empty."""
    return {
        "kind": group.kind,
        "method": group.method,
        "name": f"{'▾' if group.unfolded else '▸'} {group.name}",
        "state": f"{group.finished}/{len(group.runs)} done",
        "progress": f"{group.progress:.0%}",
        "created": format_age(group.age),
    }


def format_number(value: float | None, digits: int = 4) -> str:
    """Format a number; empty for None, and `nan` or `inf` for a value that isn't finite."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.3g}"


def format_psnr(value: float | PsnrMean | None, exact: int = 0, unit: str = "") -> str:
    """Format a mean PSNR and the number of exact images that it leaves out; empty for None."""
    if value is None:
        return ""
    return decibels(value if isinstance(value, PsnrMean) else PsnrMean(exact, value), unit)


def short_psnr(value: PsnrMean | None, unit: str = "") -> str:
    """Format a mean PSNR for a narrow cell, with a star if it leaves exact images out; empty for None."""
    if value is None:
        return ""
    star = "*" if value.exact and value.value != math.inf else ""
    return decibels(value.value, star + unit)


def result_text(result: PsnrMean | None, quality: Quality | None, unit: str = "") -> str:
    """Format a PSNR; without a truth, the predicted one in words or else the residual and the noise."""
    if result is not None or quality is None:
        return format_psnr(result, unit=unit)
    return f"predicted {quality.predicted:.1f} dB" if quality.predicted is not None else quality.misfit_text


def short_result(row: RunRow, unit: str = "") -> str:
    """Format the result of a run for a narrow cell; ~ marks a predicted PSNR, and / a residual and its noise."""
    quality = row.quality
    if row.result is not None or quality is None:
        return short_psnr(row.result, unit)
    if quality.predicted is not None:
        return f"~{quality.predicted:.1f} dB"
    return f"{quality.residual:.1f}" + ("" if quality.noise is None else f"/{quality.noise:.1f}")


def format_age(seconds: float) -> str:
    """Format an age in its largest unit; "now" under a second, or if the clock was set back."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds >= 1 else "now"


def format_size(byte_count: int | None) -> str:
    """Format a size in its largest unit; empty for None."""
    if byte_count is None:
        return ""
    value = float(byte_count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def fit(text: str, width: int, *, align_right: bool = False) -> str:
    """Pad or cut a text to exactly `width` cells, cut with an ellipsis; wide characters count as two cells."""
    if width <= 0:
        return ""
    taken = cell_len(text)
    if taken > width:
        text = set_cell_size(text, width - 1) + "…"
        taken = cell_len(text)
    pad = " " * (width - taken)
    return pad + text if align_right else text + pad


def run_title(row: RunRow) -> str:
    """Return the run's name, else its kind and method, else its id."""
    return row.name or f"{row.kind} {row.method}".strip() or printable(row.id, 60)


def narrow_status(row: RunRow) -> str:
    """Return the run's progress, result or state in a dozen cells, for a narrow list."""
    share = _progress(row)
    match row.state:
        case RunState.running if row.stalled:
            return f"{share} stalled".strip()
        case RunState.running:
            return f"{share} {'' if row.eta is None else format_duration(row.eta)}".strip() or "running"
        case RunState.finished:
            return short_result(row, " dB") or format_number(row.best_loss) or "done"
        case RunState.stopped:
            return f"stopped {share}".strip()
        case _:
            return str(row.state)


def format_gain(row: RunRow) -> str:
    """Format the smallest mean gain of a hybrid in dB, with its sign."""
    return "" if row.gain is None else f"{row.gain:+.2f}"


def _progress(row: RunRow) -> str:
    return "" if row.progress is None else f"{row.progress:.0%}"


def _time_left(row: RunRow) -> str:
    return format_duration(row.eta) if row.eta is not None and row.state.live else ""


def _took(row: RunRow) -> str:
    return format_duration(row.duration) if row.started else ""


TIGHT: tuple[Column, ...] = (
    Column("name", "run", 12, run_title, 0, elastic=True),
    Column("state", "", 12, narrow_status, 1, align_right=True, dimmed=True),
)
"""The columns of the narrowest list."""
NARROW: tuple[Column, ...] = (
    Column("kind", "kind", 7, lambda row: row.kind, 2),
    Column("name", "run", 12, lambda row: row.name or row.method or printable(row.id, 60), 0, elastic=True),
    Column("state", "", 13, narrow_status, 1, align_right=True, dimmed=True),
)
"""The columns of a narrow list."""
COLUMNS: tuple[Column, ...] = (
    Column("state", "state", 10, state_name, 1, uses_state_tone=True),
    Column("kind", "kind", 8, lambda row: row.kind, 2),
    Column("method", "method", 14, lambda row: row.method, 3),
    Column("name", "name", 12, lambda row: row.name, 4, elastic=True),
    Column("tags", "tags", 12, lambda row: " ".join(row.tags), 12, dimmed=True),
    Column("progress", "done", 6, _progress, 5, align_right=True),
    Column("eta", "left", 8, _time_left, 10, align_right=True),
    Column("best_loss", "best loss", 11, lambda row: format_number(row.best_loss), 6, align_right=True),
    Column("psnr", "PSNR", 10, short_result, 7, align_right=True),
    Column("gain", "gain", 7, format_gain, 8, align_right=True),
    Column("duration", "took", 9, _took, 11, align_right=True, dimmed=True),
    Column("created", "age", 6, lambda row: format_age(row.age), 9, align_right=True, dimmed=True),
)


def columns_for(rows: Sequence[RunRow]) -> tuple[Column, ...]:
    """Return the columns for these runs: with runs without a truth, their results are not called PSNR or gain."""
    if not any(row.truthless for row in rows):
        return COLUMNS
    has_gain = any(row.gain is not None for row in rows)
    named = (replace(column, title="result") if column.key == "psnr" else column for column in COLUMNS)
    return tuple(column for column in named if column.key != "gain" or has_gain)
