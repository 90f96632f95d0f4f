"""`dipddpm compare`: what came of runs, beside what sets them apart, with mean and spread over seeds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from core import plain, sweep
from core.errors import UserError
from core.runs import Glance, State, summary
from core.text import printable, printable_json
from tui import complete
from tui.commands.history import print_table, spent
from tui.commands.options import Json, RunsDir, find_group, find_runs
from tui.model import combine
from tui.model.combine import OUTCOMES, RUN, Combination, Spread

Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...", help="Ids, unique prefixes, last, or names of groups.", autocompletion=complete.runs
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        help="All runs of this group, a line for each combination of options.", autocompletion=complete.groups
    ),
]
By = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY",
        help="A line for each value of this option, over all runs that have it; also kind, method, task, group, run.",
    ),
]


class Line(msgspec.Struct, kw_only=True):
    """A line of the table as `--json` gives it. Only finished runs count where there are several."""

    values: dict[str, str]
    runs: list[str]
    counted: int
    outcomes: dict[str, Spread | None]


def compare(
    run: Runs = None, *, group: Group = None, by: By = None, runs_dir: RunsDir = None, json: Json = False
) -> None:
    """Compare runs: loss, PSNR, SSIM, gain and seconds, with mean and standard deviation over the runs of a line."""
    if not run and group is None:
        raise UserError("There is nothing to compare.", "Name runs, or a group with --group; dipddpm ls shows them.")
    members = find_group(group, runs_dir) if group is not None else []
    runs = list(dict.fromkeys([*(find_runs(run, runs_dir) if run else []), *members]))
    glances = [one.look() for one in runs]
    tables = [combine.table(glance.run.id, glance.config) for glance in glances]
    keys = [combine.find_key(key, tables) for key in by or ()]
    if not keys:
        keys = combine.set_apart(tables) if group is not None else [RUN, *combine.set_apart(tables)]
    found = combine.combine(tables, keys)
    outcomes = [_outcome(glance) for glance in glances]
    lines = [_line(keys, one, glances, outcomes) for one in found]
    if json:
        print("[" + ",\n".join(printable_json(plain.dump(line).decode()) for line in lines) + "]")
        return
    _print(keys, lines, [glances[one.members[0]].state for one in found])
    _say_what_counts(lines)


def _outcome(glance: Glance) -> dict[str, float | None]:
    """From the log itself: the summaries of older runs lack what is told here."""
    told = summary.rebuild(glance.run.folder)
    return combine.outcome(told, spent(glance) if told.started else None)


def _line(
    keys: Sequence[str], one: Combination, glances: Sequence[Glance], outcomes: Sequence[dict[str, float | None]]
) -> Line:
    """A single run counts as it is; of several, those that are finished."""
    finished = [place for place in one.members if glances[place].state is State.finished]
    counted = finished if len(one.members) > 1 else one.members
    return Line(
        values=dict(zip(keys, one.values, strict=True)),
        runs=[glances[place].run.id for place in one.members],
        counted=len(counted),
        outcomes={name: combine.spread(outcomes[place][name] for place in counted) for name in OUTCOMES},
    )


def _print(keys: Sequence[str], lines: Sequence[Line], states: Sequence[State]) -> None:
    """What nobody measured is left out."""
    told = [name for name in OUTCOMES if any(line.outcomes[name] for line in lines)]
    heads = [sweep.short(key, keys).upper() for key in keys]
    table = [(*heads, "RUNS", *(OUTCOMES[name].title.upper() for name in told))]
    for line, state in zip(lines, states, strict=True):
        total = len(line.runs)
        count = str(state) if total == 1 else str(total) if line.counted == total else f"{line.counted} of {total}"
        cells = (combine.written(line.outcomes[name], OUTCOMES[name].digits) for name in told)
        table.append((*(printable(line.values[key], 60) for key in keys), count, *cells))
    print_table(list(table))


def _say_what_counts(lines: Sequence[Line]) -> None:
    if any(line.counted > 1 for line in lines):
        print("± is the standard deviation over the runs of a line.", file=sys.stderr)
    left_out = sum(len(line.runs) - line.counted for line in lines)
    if left_out:
        are = "runs are" if left_out > 1 else "run is"
        print(f"{left_out} {are} not finished and left out.", file=sys.stderr)
