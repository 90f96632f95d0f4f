"""How long a run will take, by earlier ones of its kind on the same data and device."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from dipddpm.core.config import AnyRun
from dipddpm.core.runs import RunState
from dipddpm.tui.shared.runlist import RunRow

MAX_RUNS = 5
"""The latest so many runs are asked."""


def estimate(config: AnyRun, rows: Sequence[RunRow]) -> float | None:
    """Seconds from the first step to the end; None where no earlier run tells.

    Takes the same kind, method, data set and device; the time of a finished one is scaled by its epochs, or by its
    steps where it trained none. What the options change besides that, it doesn't know.
    """
    similar = sorted((row for row in rows if _is_similar(row, config)), key=lambda row: row.started, reverse=True)
    planned_epochs, planned_steps = _plan(config)
    estimates = []
    for row in similar[:MAX_RUNS]:
        if row.epochs and planned_epochs:
            estimates.append(row.duration / row.epochs * planned_epochs)
        elif not row.epochs and planned_steps and row.steps:
            estimates.append(row.duration / row.steps * planned_steps)
    return median(estimates) if estimates else None


def _is_similar(row: RunRow, config: AnyRun) -> bool:
    return (
        row.state is RunState.finished
        and row.duration > 0
        and (row.kind, row.method) == (config.kind, config.method)
        and row.dataset in {config.data.dataset, ""}
        and (config.device == "auto" or row.device.partition(":")[0] == config.device.partition(":")[0])
    )


def _plan(config: AnyRun) -> tuple[int, int]:
    """The epochs and the fit's iterations that a run will do, as far as its config tells; 0 for none."""
    ddpm, dip = getattr(config, "ddpm", None), getattr(config, "dip", None)
    return getattr(ddpm, "epochs", 0), getattr(dip, "iterations", 0)
