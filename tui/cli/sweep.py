"""`dipddpm sweep`: a group of runs, every combination of what is varied with several seeds."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.export.mirror import refuse_mirror, request_mirror
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch import local
from dipddpm.core.launch import sweep as sweeps
from dipddpm.core.launch.sweep import PlannedRun
from dipddpm.core.runs import RunsFolder
from dipddpm.core.runs.equivalence import runs_in_group
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.command import command, option
from dipddpm.tui.cli.output import print_json, print_table
from dipddpm.tui.cli.run import RunOptions, prepare


@dataclass(frozen=True, kw_only=True)
class SweepOptions(RunOptions):
    """The options of `dipddpm sweep`."""

    over: list[str] | None = option(
        None,
        "An option and the values to try, as dip.lr=0.01,0.1; also task and method. Semicolons part values that hold "
        "commas. May be repeated: every combination is run.",
        metavar="KEY=V1,V2",
        complete=complete.settings,
    )
    seeds: int = option(1, "Runs of each combination, with as many seeds from --seed on.", min=1)
    group: str | None = option(None, "What to call the group (else a name made of what is varied).", key="group")
    dry_run: bool = option(False, "Print the table of runs and do nothing.", "--dry-run")
    detach: bool = field(default=False, init=False)


@command(SweepOptions)
def sweep(options: SweepOptions) -> None:
    """Run every combination of some options' values, each with several seeds, as a group that waits in the queue.

    All are checked before one is started. The same sweep again goes on: what is finished stays, what was stopped,
    failed or crashed is resumed, and further values or seeds join the group.
    """
    if options.mirror is not None:
        refuse_mirror(options.mirror)
    varied = _parse_over(options.over or [])
    _refuse_varied_and_given(options, varied)
    first = options.seed or 0
    combinations = sweeps.combinations(varied, range(first, first + options.seeds))
    configs = _configs(options, combinations, list(varied))
    folder = RunsFolder(local.runs_root(options.runs_dir))
    planned = sweeps.plan(runs_in_group(folder.runs(), configs[0].group), configs)
    on = prepare(options, configs, fetch=not options.dry_run)
    rows = [dict(values) for values in combinations]
    if options.dry_run:
        _print_plan(planned, rows, as_json=options.json)
        return
    mirror = partial(request_mirror, name=options.mirror) if options.mirror is not None else lambda _: None
    started = [
        replace(one, run=sweeps.start_or_resume(folder, one, now=options.now, on=on, prepare=mirror)) for one in planned
    ]
    _print_plan(started, rows, as_json=options.json)
    if not options.json:
        _print_next_commands(started)


def _parse_over(over: list[str]) -> dict[str, list[str]]:
    """The values by key. Raises UserError for a key without several, or with one that stands there twice."""
    values_by_key: dict[str, list[str]] = {}
    for text in over:
        key, equals, values = text.partition("=")
        key = {"method": "hybrid.method"}.get(key.strip(), key.strip())
        listed = [value.strip() for value in values.split(";" if ";" in values else ",")]
        if not equals or not key or not all(listed):
            raise UserError(f"--over {printable(text)} names no values.", "Write it as --over dip.lr=0.01,0.1.")
        if key in values_by_key:
            raise UserError(f"{printable(key)} is swept over twice.", "Put all its values into one --over.")
        values_by_key[key] = listed
    return values_by_key


def _refuse_varied_and_given(options: SweepOptions, varied: dict[str, list[str]]) -> None:
    """Raise UserError for an option that is both varied and given."""
    given = {**options.config_settings(), "task": options.task, "hybrid.method": options.method}
    if options.seeds > 1:
        given["seed"] = options.seeds
    for key in varied:
        if given.get(key) is not None:
            raise UserError(f"{printable(key)} is both given and swept over.", "Leave one of them out.")


def _configs(options: SweepOptions, combinations: list[dict[str, str]], varied: list[str]) -> list[AnyRun]:
    """The config of each combination, with its group and its name. Raises UserError for any that isn't right."""
    varying = {key for key in combinations[0] if len({values[key] for values in combinations}) > 1}
    group = options.group
    configs = []
    for values in combinations:
        label = sweeps.label({key: value for key, value in values.items() if key in varying or key in varied})
        variant = _with_values(replace(options, name=" ".join(filter(None, (options.name, label)))), values)
        group = group or sweeps.group_name(variant.config(), varied)
        configs.append(replace(variant, group=group).config())
    return configs


def _with_values(options: SweepOptions, values: dict[str, str]) -> SweepOptions:
    """The run that was asked for, with these values."""
    named: dict[str, Any] = {"seed": None}
    settings = list(options.settings or [])
    for key, value in values.items():
        if key in {"task", "hybrid.method"}:
            named[key.removeprefix("hybrid.")] = value
        else:
            settings.append(f"{key}={value}")
    return replace(options, settings=settings, **named)


def _print_plan(planned: list[PlannedRun], rows: list[dict[str, str]], *, as_json: bool) -> None:
    if as_json:
        runs = [
            {"run": one.run.id if one.run else None, "state": one.state, "how": one.how, "values": values}
            for one, values in zip(planned, rows, strict=True)
        ]
        print_json({"group": planned[0].config.group, "runs": runs})
        return
    keys = list(rows[0])
    table = [("RUN", *(sweeps.short(key, keys).upper() for key in keys), "")]
    for one, values in zip(planned, rows, strict=True):
        run = printable(one.run.id) if one.run else "-"
        table.append((run, *(printable(values[key], 40) for key in keys), one.how))
    print_table(table)


def _print_next_commands(started: list[PlannedRun]) -> None:
    group = started[0].config.group
    started_count = sum(one.needs_start for one in started)
    count = f"{len(started)} run{'s' * (len(started) > 1)}"
    print(f"{count} in the group {group}, {started_count} of them started now.", file=sys.stderr)
    for words, arguments in (
        ("the list", ["ls", "--group", group]),
        ("means and spreads", ["compare", "--group", group]),
        ("stop them all", ["stop", group]),
    ):
        print(f"  {words:<18} dipddpm {shlex.join(arguments)}", file=sys.stderr)
    print(f"  {'live':<18} dipddpm-tui, and there /group:{group}", file=sys.stderr)
