"""`dipddpm ls`, `show`, `watch`, `stop` and `resume`: commands for existing runs."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from dipddpm.core import config as configs
from dipddpm.core.config import DdpmRun, HybridRun
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.cell import YARDSTICKS
from dipddpm.core.events import DataLoaded, EpochFinished, Event, Message, SamplesEvaluated, SpreadMeasured
from dipddpm.core.export.mirror import request_mirror
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch import inputs, local, preflight, submit
from dipddpm.core.runs import Run, RunsFolder, RunState, RunStatus, heartbeat, slurm
from dipddpm.core.runs.summary import Summary
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.follow import STATUS_SECONDS, Past, exit_code, follow
from dipddpm.tui.cli.help import RUNS
from dipddpm.tui.cli.options import (
    Json,
    Mirror,
    Now,
    On,
    RunArgument,
    RunOrGroup,
    RunsDir,
    find_group,
    find_run,
    find_runs,
)
from dipddpm.tui.cli.output import json_line, print_notice, print_table
from dipddpm.tui.shared.columns import format_age, format_psnr, result_text
from dipddpm.tui.shared.durations import format_duration
from dipddpm.tui.shared.formatting import event_line, restored_lines, resume_point, scoreboard_lines
from dipddpm.tui.shared.runlist import elapsed_seconds
from dipddpm.tui.shared.streams import end_with_reader

LIST_COLUMNS = ("ID", "METHOD", "STATE", "DONE", "LOSS", "PSNR", "GAIN", "TIME", "AGE", "NAME")
RESULT_AT, GAIN_AT = LIST_COLUMNS.index("PSNR"), LIST_COLUMNS.index("GAIN")
KINDS_WITH_MESSAGES = {"explanation", "study"}
"""The kinds of runs whose results are sentences; of other kinds, only warnings are shown."""
REPORT = "report.html"
"""The report that a study writes into its folder."""


def ls(
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="List the newest N runs.", rich_help_panel=RUNS)
    ] = 20,
    everything: Annotated[bool, typer.Option("--all", "-a", help="List all runs.", rich_help_panel=RUNS)] = False,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="WORD",
            help="List all runs of this group.",
            rich_help_panel=RUNS,
            autocompletion=complete.groups,
        ),
    ] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """List the runs, newest first.

    Examples:
        dipddpm ls
        dipddpm ls --all --json
        dipddpm ls --group night

    The reference runs that ship with the program follow at the end.
    """
    folder = RunsFolder(local.runs_root(runs_dir))
    runs = folder.runs() if group is None else find_group(group, runs_dir)
    shown = runs if everything or group is not None else runs[:limit]
    statuses = [run.status() for run in (*shown, *(folder.references() if group is None else ()))]
    if json:
        print("[" + ",\n".join(map(_as_json, statuses)) + "]")
        return
    if not runs:
        print(f"No runs in {folder.root} yet. Start one with: dipddpm run hybrid --preset quick", file=sys.stderr)
    if statuses:
        table = _list_table(statuses)
        if group is None and any(status.summary.group for status in statuses):
            names = ["GROUP", *(printable(status.summary.group, 80) for status in statuses)]
            table = [(*row[:-1], name, row[-1]) for row, name in zip(table, names, strict=True)]
        print_table(table)
    if len(shown) < len(runs):
        print(f"Older runs not listed: {len(runs) - len(shown)}. List them with --all.", file=sys.stderr)


def show(run: RunArgument, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Print the state, numbers, files and config of a run.

    Examples:
        dipddpm show last
        dipddpm show reference --json
    """
    selected_run = find_run(run, runs_dir)
    selected_run.refuse_unreadable()
    status = selected_run.status()
    if json:
        print(_as_json(status))
        return
    facts = _facts(status)
    width = max(12, *(len(key) for key, _ in facts))
    for key, value in facts:
        print(f"{key:<{width}} {value}")
    events = selected_run.events()
    epochs = [text for event in events if (text := event_line(event)) and text.startswith("Loss at epoch")]
    for text in epochs[-5:]:
        print(f"{'':<12} {text}")
    for text in _by_timestep(status, events):
        print(text)
    for event in events:
        is_text = isinstance(event, Message) and (
            event.level == "warning" or status.summary.kind in KINDS_WITH_MESSAGES
        )
        if is_text or isinstance(event, SamplesEvaluated | SpreadMeasured):
            print(f"{'':<12} {event_line(event)}")
    print("".join(f"{text}\n" for text in ["", *scoreboard_lines(selected_run)]))
    config_text = configs.to_toml(status.config) if status.config else status.trouble
    print("\n".join(map(printable, config_text.rstrip().split("\n"))))


def watch(run: RunOrGroup = "last", runs_dir: RunsDir = None, json: Json = False) -> int:
    """Follow a run, or a group of runs, until it ends.

    Examples:
        dipddpm watch
        dipddpm watch last --json

    A run is followed line by line, a group by a line when one of its runs ends. Ctrl-C ends this command only; the runs
    continue. The exit code is 0 for a finished run, 1 for a failed or crashed run and 130 for a stopped one; the exit
    code of a group is 1 if any of its runs failed.
    """
    runs = find_runs([run], runs_dir)
    return follow(runs[0], as_json=json) if len(runs) == 1 else _wait_for_all(runs, as_json=json)


def _wait_for_all(runs: list[Run], *, as_json: bool) -> int:
    """Print a line when a run ends, until all have; return 1 if any failed, else 130 if any was stopped, else 0."""
    end_with_reader()
    pending, codes = runs, {0}
    while pending:
        statuses = [run.status() for run in pending]
        for status in statuses:
            if not status.state.live:
                quality = result_text(status.summary.result, status.summary.quality, unit=" dB")
                result = f", {quality}" if quality else ""
                title = "  ".join(filter(None, (printable(status.run.id), printable(status.summary.name, 60))))
                report = f"{title}: {status.state}{result}"
                print(_as_json(status) if as_json else report, flush=True)
                codes.add(exit_code(status.state))
        pending = [status.run for status in statuses if status.state.live]
        if pending:
            time.sleep(STATUS_SECONDS)
    return 1 if 1 in codes else max(codes)


def stop(run: RunOrGroup, runs_dir: RunsDir = None) -> int:
    """Stop a run, or a group of runs, after writing a checkpoint.

    Examples:
        dipddpm stop last
        dipddpm stop night

    Each run finishes its current step first. A run that doesn't answer is killed; dipddpm resume continues it from its
    last checkpoint.
    """
    runs = find_runs([run], runs_dir)
    if len(runs) == 1:
        states = Counter([local.stop(runs[0])])
        print(f"{printable(runs[0].id)} is {next(iter(states))}")
        worker = runs[0].status().worker
        if worker is not None and heartbeat.runs_here(worker.identity) is None:
            where = f"on {printable(worker.identity.host, 60)}, or in a container there"
            print(f"Its process doesn't answer, and can't be ended from here: it runs {where}.", file=sys.stderr)
    else:
        stopped = local.stop_all(runs)
        if not stopped:
            raise UserError(
                f"No run of the group {printable(run)} is running.", "See their states with dipddpm ls --all."
            )
        states = Counter(one.status().state for one in stopped)
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        print(f"{len(stopped)} runs of the group {printable(run)}: {counts}")
    return 1 if any(state.live for state in states) else 0


def resume(
    run: RunOrGroup,
    *,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start the run, print its id and return.", rich_help_panel=RUNS)
    ] = False,
    now: Now = False,
    on: On = None,
    mirror: Mirror = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> int:
    """Continue a stopped, failed or crashed run from its checkpoint.

    Examples:
        dipddpm resume last
        dipddpm resume night
        dipddpm resume last --on here

    The name of a group resumes all its runs that can be resumed; they are not followed. A Slurm job is submitted to its
    cluster again, unless --on here moves it to this machine.
    """
    if on is not None and on != submit.HERE:
        submit.refuse(on)
    runs = find_runs([run], runs_dir)
    several = len(runs) > 1
    if several and not (runs := [one for one in reversed(runs) if one.status().state.resumable]):
        problem = f"No run of the group {printable(run)} can be resumed."
        raise UserError(problem, "See their states with dipddpm ls --all.")
    past = Past(runs[0])
    refused, compared = 0, set[inputs.Hashes]()
    for one in runs:
        try:
            status = one.status()
            if status.state.resumable:
                elsewhere = bool(local.cluster(one, on or ""))
                preflight.refuse_resume(one, elsewhere=elsewhere, compared=compared, notify=print_notice)
            if mirror is not None:
                with one.hold():
                    request_mirror(one, mirror)
            local.resume(one, now=now, on=on or "")
        except UserError as error:
            if not several:
                raise
            refused += 1
            print(f"{printable(one.id)}: {printable(str(error))}", file=sys.stderr)
            continue
        if point := resume_point(status):
            print(f"{printable(one.id)} {point}", file=sys.stderr)
        if several or detach:
            print(printable(one.id))
    if several or detach:
        return 2 if refused else 0
    return follow(runs[0], as_json=json, stop_on_interrupt=True, past=past)


def _list_table(statuses: Sequence[RunStatus]) -> list[tuple[str, ...]]:
    """Return the header and the rows of the list; the results of runs without a truth are no PSNR."""
    if not any(status.summary.truthless for status in statuses):
        return [LIST_COLUMNS, *map(_list_row, statuses)]
    header = (*LIST_COLUMNS[:RESULT_AT], "RESULT", *LIST_COLUMNS[RESULT_AT + 1 :])
    table = [header, *(_list_row(status, " dB") for status in statuses)]
    if all(status.summary.gain is None for status in statuses):
        table = [(*row[:GAIN_AT], *row[GAIN_AT + 1 :]) for row in table]
    return table


def _list_row(status: RunStatus, unit: str = "") -> tuple[str, ...]:
    summary = status.summary
    return (
        printable(status.run.id, 60),
        printable(summary.method or "?", 20),
        _state_texts(status)[0],
        _format("{}%", summary.percent),
        _format("{:.4f}", summary.best_loss),
        result_text(summary.result, summary.quality, unit),
        _format("{:+.2f}", summary.gain),
        format_duration(elapsed_seconds(status)) if summary.started else "",
        format_age(status.at - status.run.created),
        printable(summary.name if summary.kind else status.trouble, 60),
    )


def _state_texts(status: RunStatus) -> tuple[str, str]:
    """Return the state as `ls` prints it, and as `show` prints it with a remark."""
    state = str(status.state)
    if status.run.reference:
        return "reference", f"{state} (a reference run, which ships with the program)"
    if status.state is RunState.queued and status.job is not None and status.job.slurm_job.reason:
        reason = printable(status.job.slurm_job.reason, 30)
        return f"{state}, {reason}", f"{state} (Slurm: {reason})"
    if status.stalled:
        return f"{state}, stalled", f"{state} (alive, but not advancing)"
    return state, state


def _format(template: str, value: float | str | None) -> str:
    return "" if value in {None, ""} else template.format(value)


def data_notes(run: Run) -> list[str]:
    """Return what the run has logged about the files of its data, such as those left out, each note once."""
    loaded = (event for event in run.events() if isinstance(event, DataLoaded))
    return list(dict.fromkeys(note for event in loaded for note in event.notes))


def _facts(status: RunStatus) -> list[tuple[str, str]]:
    summary, run, config = status.summary, status.run, status.config
    report = run.folder / REPORT
    against = printable(summary.against or YARDSTICKS["plain"])
    facts = [
        ("run", printable(run.id)),
        ("name", printable(config.name) if config else ""),
        ("group", config.group if config else ""),
        ("state", _state_texts(status)[1]),
        ("method", f"{config.kind} {config.method}" if config else ""),
        ("data", printable(summary.dataset)),
        ("data notes", printable("; ".join(data_notes(run)))),
        ("device", printable(summary.device)),
        ("job", f"{job.id}, {printable(job.on)}" if (job := slurm.read(run.folder)) else ""),
        ("done", _progress_text(status)),
        ("resume", resume_point(status)),
        ("time", format_duration(elapsed_seconds(status)) if summary.started else ""),
        ("best loss", _format(f"{{:.4f}} at epoch {summary.best_epoch}", summary.best_loss)),
        ("PSNR", format_psnr(summary.psnr, summary.exact, " dB")),
        ("gain", "" if summary.gain is None else f"{summary.gain:+.2f} dB over {against}"),
        (
            "peak PSNR",
            _format(f"{{}} at {summary.peak_step}", format_psnr(summary.peak_psnr, summary.peak_exact, " dB")),
        ),
        ("stopped at", _stop_text(summary)),
        *_quality_facts(summary),
        ("speed", _format("{:,.0f} images/s", summary.images_per_second or None)),
        ("error", printable(summary.error)),
        ("what to do", printable(status.hint)),
        ("folder", printable(str(run.folder))),
        ("best model", printable(str(run.folder / summary.best_file)) if summary.best_file else ""),
        ("restored", restored[0].partition(": ")[2] if (restored := restored_lines(run)) else ""),
        ("report", printable(str(report)) if report.is_file() else ""),
    ]
    return [(key, value) for key, value in facts if value]


def _stop_text(summary: Summary) -> str:
    if summary.truthless:
        return _format("iteration {}", summary.stop_step or None)
    return _format(f"{{}}, iteration {summary.stop_step}", format_psnr(summary.stop_psnr, summary.stop_exact, " dB"))


def _quality_facts(summary: Summary) -> list[tuple[str, str]]:
    """Return what is known without a truth."""
    if summary.quality is None:
        return []
    return [
        ("predicted PSNR", summary.quality.prediction_text),
        ("misfit", f"{summary.quality.misfit_text} grey levels"),
        ("held-out", _format("error {:.1f} grey levels", summary.held_out)),
    ]


def _by_timestep(status: RunStatus, events: list[Event]) -> list[str]:
    """Return a table of the last epoch's error of eps in each range of timesteps."""
    bands = next((event.bands for event in reversed(events) if isinstance(event, EpochFinished)), [])
    if not bands or not isinstance(status.config, DdpmRun | HybridRun):
        return []
    edges = [status.config.ddpm.timesteps * i // len(bands) for i in range(len(bands) + 1)]
    return [
        f"{'eps by t' if first == 0 else '':<12} {f'{first}-{last - 1}':>9}  {error:.4f}"
        for first, last, error in zip(edges, edges[1:], bands, strict=False)
    ]


def _progress_text(status: RunStatus) -> str:
    summary = status.summary
    share = _format(", {}%", summary.percent)
    if summary.epochs:
        return f"epoch {summary.epoch} of {summary.epochs}{share}"
    return f"step {summary.step:,} of {summary.steps:,}{share}" if summary.steps else ""


def _as_json(status: RunStatus) -> str:
    config = status.config
    record = {
        "id": _valid_unicode(status.run.id),
        "folder": _valid_unicode(str(status.run.folder)),
        "state": status.state,
        "created": status.run.created,
        **{key: getattr(config, key, "") for key in ("kind", "method", "name", "group")},
        "stalled": status.stalled,
        "reference": status.run.reference,
        "summary": status.summary,
        "config": msgspec.to_builtins(config) if config else None,
    }
    return json_line(record)


def _valid_unicode(name: str) -> str:
    """Replace the bytes of a file name that aren't UTF-8, which JSON can't hold, by question marks."""
    return name.encode(errors="replace").decode()
