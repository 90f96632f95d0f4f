"""`dipddpm compare`: a table of the options in which runs differ and of their results, with mean and spread."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from dipddpm.core.errors import UserError
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch import sweep
from dipddpm.core.means import PsnrMean
from dipddpm.core.runs import RunState, RunStatus, summary
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.help import OUTPUT, RUNS
from dipddpm.tui.cli.options import IDS_OR_GROUPS, Json, RunsDir, find_group, find_runs, run_argument
from dipddpm.tui.cli.output import json_line, print_table
from dipddpm.tui.shared import combine
from dipddpm.tui.shared.combine import OUTCOMES, RUN_KEY, Spread
from dipddpm.tui.shared.runlist import elapsed_seconds

Runs = Annotated[list[str] | None, run_argument("RUN", IDS_OR_GROUPS)]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="WORD",
        help="Compare all runs of this group, with a line for each combination of options.",
        rich_help_panel=RUNS,
        autocompletion=complete.groups,
    ),
]
By = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY",
        help="Print a line for each value of this config key, or of kind, method, task, group or run; may be repeated.",
        rich_help_panel=OUTPUT,
    ),
]


class TableLine(msgspec.Struct, kw_only=True):
    """A line of the table as `--json` prints it. If a line has several runs, only the finished ones count."""

    values: dict[str, str]
    runs: list[str]
    counted: int
    outcomes: dict[str, Spread | None]


def compare(
    run: Runs = None, *, group: Group = None, by: By = None, runs_dir: RunsDir = None, json: Json = False
) -> None:
    """Compare the loss, PSNR, SSIM, gain and time of runs in a table.

    Examples:
        dipddpm compare last reference
        dipddpm compare --group night
        dipddpm compare --group night --by dip.lr --json

    A line over several runs shows the mean and the standard deviation of the finished ones.
    """
    if not run and group is None:
        raise UserError("There is nothing to compare.", "Give runs, or a group with --group; dipddpm ls lists both.")
    members = find_group(group, runs_dir) if group is not None else []
    runs = list(dict.fromkeys([*(find_runs(run, runs_dir) if run else []), *members]))
    statuses = [one.status() for one in runs]
    tables = [combine.option_texts(status.run.id, status.config) for status in statuses]
    keys = [combine.find_key(key, tables) for key in by or ()]
    if not keys:
        keys = combine.differing_options(tables) if group is not None else [RUN_KEY, *combine.differing_options(tables)]
    combinations = combine.combine(tables, keys)
    outcomes = [_outcome(status) for status in statuses]
    lines = [
        _line(dict(zip(keys, values, strict=True)), [(statuses[index], outcomes[index]) for index in indices])
        for values, indices in combinations.items()
    ]
    if json:
        print("[" + ",\n".join(map(json_line, lines)) + "]")
        return
    _print_table(keys, lines, [statuses[indices[0]].state for indices in combinations.values()])
    if any(line.counted > 1 for line in lines):
        print("± is the standard deviation over the runs of a line.", file=sys.stderr)
    if left_out := sum(len(line.runs) - line.counted for line in lines):
        are = "runs are" if left_out > 1 else "run is"
        print(f"{left_out} {are} not finished and not counted.", file=sys.stderr)


def _outcome(status: RunStatus) -> dict[str, float | PsnrMean | None]:
    """Return the results of a run by the names in `OUTCOMES`, from its log: the summaries of older runs lack some."""
    results = summary.rebuild(status.run.folder)
    seconds = elapsed_seconds(status) if results.started else None
    predicted, residual = (results.quality.predicted, results.quality.residual) if results.quality else (None, None)
    values = (results.result, results.ssim, results.gain, predicted, residual, results.best_loss, results.loss, seconds)
    return dict(zip(OUTCOMES, values, strict=True))


def _line(values: dict[str, str], members: Sequence[tuple[RunStatus, dict[str, float | PsnrMean | None]]]) -> TableLine:
    """Make a line of the table. A single run always counts; of several runs only the finished ones do."""
    counted = [outcome for status, outcome in members if len(members) == 1 or status.state is RunState.finished]
    return TableLine(
        values=values,
        runs=[status.run.id for status, _ in members],
        counted=len(counted),
        outcomes={name: combine.compute_spread(outcome[name] for outcome in counted) for name in OUTCOMES},
    )


def _print_table(keys: Sequence[str], lines: Sequence[TableLine], states: Sequence[RunState]) -> None:
    """Print the table without the results that no run has."""
    measured = [name for name in OUTCOMES if any(line.outcomes[name] for line in lines)]
    heads = [sweep.short(key, keys).upper() for key in keys]
    table = [(*heads, "RUNS", *(OUTCOMES[name][0].upper() for name in measured))]
    for line, state in zip(lines, states, strict=True):
        total = len(line.runs)
        count = str(state) if total == 1 else str(total) if line.counted == total else f"{line.counted} of {total}"
        cells = (combine.format_spread(line.outcomes[name], OUTCOMES[name][1]) for name in measured)
        table.append((*(printable(line.values[key], 60) for key in keys), count, *cells))
    print_table(table)
