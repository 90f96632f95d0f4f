"""`dipddpm sweep`: start a group of runs, one for each combination of option values and each seed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.export.mirror import refuse_mirror, request_mirror
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch import inputs, local, preflight
from dipddpm.core.launch import sweep as sweeps
from dipddpm.core.launch.sweep import PlannedRun
from dipddpm.core.runs import RunsFolder
from dipddpm.core.runs.equivalence import runs_in_group
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.command import command, option
from dipddpm.tui.cli.help import RUNS, SWEEP
from dipddpm.tui.cli.output import print_json, print_notice, print_table
from dipddpm.tui.cli.run import RunOptions, prepare


@dataclass(frozen=True, kw_only=True)
class SweepOptions(RunOptions):
    """The options of `dipddpm sweep`."""

    over: list[str] | None = option(
        None,
        "A key of the config, `task` or `method`, and the values to try, for example dip.lr=0.01,0.1. Semicolons "
        "separate values that contain commas. May be repeated: every combination is run.",
        group=SWEEP,
        metavar="KEY=V1,V2",
        complete=complete.settings,
    )
    seeds: int = option(
        1, "Runs of each combination, with this many seeds counted up from --seed.", group=SWEEP, metavar="N", min=1
    )
    group: str | None = option(
        None, "A name for the group, else one made of the varied options.", group=SWEEP, key="group", metavar="WORD"
    )
    dry_run: bool = option(False, "Print the table of runs and start nothing.", "--dry-run", group=RUNS)
    detach: bool = field(default=False, init=False)


@command(SweepOptions)
def sweep(options: SweepOptions) -> None:
    """Start a run for each combination of option values and seeds.

    Examples:
        dipddpm sweep dip --over dip.lr=0.01,0.1 --seeds 3
        dipddpm sweep hybrid --over method=calibrated,guided --dry-run
        dipddpm sweep dip --over "task=denoise:sigma=50;inpaint:missing=0.7,sigma=5"

    The runs form a group. All are checked before the first one starts, and they wait in the queue of their device.
    Repeat the same command to continue a sweep: finished runs stay as they are, runs that were stopped, failed or
    crashed are resumed, and new values or seeds join the group.
    """
    if options.mirror is not None:
        refuse_mirror(options.mirror)
    varied = _parse_over(options.over or [])
    if not varied and options.seeds == 1:
        raise UserError("There is nothing to vary.", "Give --over KEY=V1,V2, or --seeds N for several seeds.")
    _refuse_varied_and_given(options, varied)
    first = options.seed or 0
    combinations = sweeps.combinations(varied, range(first, first + options.seeds))
    configs = _configs(options, combinations, list(varied))
    folder = RunsFolder(local.runs_root(options.runs_dir))
    planned = sweeps.plan(runs_in_group(folder.runs(), configs[0].group), configs)
    on = prepare(options, configs, fetch=not options.dry_run)
    _refuse_changed(planned, elsewhere=bool(on))
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


def _refuse_changed(planned: Iterable[PlannedRun], *, elsewhere: bool) -> None:
    """Raise UserError for an existing run whose data have changed, because a group compares runs on the same data."""
    compared: set[inputs.Hashes] = set()
    for one in planned:
        if one.run is not None and one.needs_start:
            preflight.refuse_resume(one.run, elsewhere=elsewhere, compared=compared, notify=print_notice)
        elif one.run is not None:
            try:
                preflight.refuse_changed(one.run, compared, print_notice)
            except UserError as error:
                problem = f"{one.run.id} is {one.state}, but its data have changed. {error.problem}"
                raise UserError(problem, "Put the old files back, or start another group with --group NAME.") from None


def _parse_over(over: list[str]) -> dict[str, list[str]]:
    """Return the values by key. Raises UserError for a key without values, or one that is given twice."""
    values_by_key: dict[str, list[str]] = {}
    for text in over:
        key, equals, values = text.partition("=")
        key = {"method": "hybrid.method"}.get(key.strip(), key.strip())
        listed = [value.strip() for value in values.split(";" if ";" in values else ",")]
        if not equals or not key or not all(listed):
            raise UserError(f"--over {printable(text)} has no values to try.", "Write it as --over dip.lr=0.01,0.1.")
        if key in values_by_key:
            raise UserError(f"--over names {printable(key)} twice.", "Put all its values into one --over.")
        values_by_key[key] = listed
    return values_by_key


def _refuse_varied_and_given(options: SweepOptions, varied: dict[str, list[str]]) -> None:
    """Raise UserError for an option that is both varied and given a single value."""
    given = {**options.config_settings(), "task": options.task, "hybrid.method": options.method}
    if options.seeds > 1:
        given["seed"] = options.seeds
    for key in varied:
        if given.get(key) is not None:
            problem = f"{printable(key)} has a value of its own and is also varied by --over."
            raise UserError(problem, "Leave out one of the two.")


def _configs(options: SweepOptions, combinations: list[dict[str, str]], varied: list[str]) -> list[AnyRun]:
    """Return the config of each combination, with its group and name. Raises UserError if one of them is wrong."""
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
    """Return the options with the values of one combination."""
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
        ("list the runs", ["ls", "--group", group]),
        ("mean and spread", ["compare", "--group", group]),
        ("stop them all", ["stop", group]),
    ):
        print(f"  {words:<18} dipddpm {shlex.join(arguments)}", file=sys.stderr)
    print(f"  {'live':<18} dipddpm-tui, and there /group:{group}", file=sys.stderr)
