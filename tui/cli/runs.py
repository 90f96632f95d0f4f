"""`dipddpm ls`, `show`, `watch`, `stop` and `resume`: runs that exist."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Annotated, Any

import msgspec
import typer

from dipddpm.core import config as configs
from dipddpm.core.config import DdpmRun, HybridRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import EpochFinished, Event, Message, SamplesEvaluated
from dipddpm.core.export.mirror import request_mirror
from dipddpm.core.io import records
from dipddpm.core.io.sanitize import printable, printable_json
from dipddpm.core.launch import local, submit
from dipddpm.core.runs import Run, RunsFolder, RunState, RunStatus, slurm
from dipddpm.tui.cli.follow import STATUS_SECONDS, exit_code, follow
from dipddpm.tui.cli.options import (
    GroupOf,
    Json,
    Mirror,
    Now,
    On,
    RunArgument,
    RunsDir,
    find_group,
    find_run,
    find_runs,
)
from dipddpm.tui.shared.board import scoreboard_lines
from dipddpm.tui.shared.formatting import event_line, format_duration

LIST_COLUMNS = ("ID", "METHOD", "STATE", "DONE", "LOSS", "PSNR", "GAIN", "TIME", "AGE", "NAME")
KINDS_WITH_MESSAGES = {"explanation", "study"}
"""Kinds of runs whose results are sentences."""
REPORT = "report.html"
"""What a study leaves."""


def ls(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest N runs.")] = 20,
    everything: Annotated[bool, typer.Option("--all", "-a", help="All runs.")] = False,
    group: GroupOf = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """List the runs, newest first, and after them the reference runs, which ship with the program."""
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
        table = [LIST_COLUMNS, *map(_list_row, statuses)]
        if group is None and any(status.summary.group for status in statuses):
            names = ["GROUP", *(printable(status.summary.group, 80) for status in statuses)]
            table = [(*row[:-1], name, row[-1]) for row, name in zip(table, names, strict=True)]
        print_table(table)
    if len(shown) < len(runs):
        print(f"and {len(runs) - len(shown)} older; --all shows them", file=sys.stderr)


def show(run: RunArgument, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Show one run: its state, its numbers, its files and its config."""
    selected_run = find_run(run, runs_dir)
    status = selected_run.status()
    if json:
        print(_as_json(status))
        return
    for key, value in _facts(status):
        print(f"{key:<12} {value}")
    events = selected_run.events()
    epochs = [text for event in events if (text := event_line(event)) and text.startswith("Loss at epoch")]
    for text in epochs[-5:]:
        print(f"{'':<12} {text}")
    for text in _by_timestep(status, events):
        print(text)
    for event in events:
        if isinstance(event, SamplesEvaluated) or (
            isinstance(event, Message) and status.summary.kind in KINDS_WITH_MESSAGES
        ):
            print(f"{'':<12} {event_line(event)}")
    print("".join(f"{text}\n" for text in ["", *scoreboard_lines(selected_run)]))
    config_text = configs.to_toml(status.config) if status.config else status.trouble
    print("\n".join(map(printable, config_text.rstrip().split("\n"))))


def watch(run: RunArgument = "last", runs_dir: RunsDir = None, json: Json = False) -> int:
    """Follow a run until it ends, or those of a group until all have. Ctrl-C only leaves; the runs go on."""
    runs = find_runs([run], runs_dir)
    return follow(runs[0], as_json=json) if len(runs) == 1 else _wait_for_all(runs, as_json=json)


def _wait_for_all(runs: list[Run], *, as_json: bool) -> int:
    """Tell of each run that it has ended; 0 if all of them are finished, and a failure counts for more than a stop."""
    pending, codes = runs, {0}
    while pending:
        statuses = [run.status() for run in pending]
        for status in statuses:
            if not status.state.live:
                result = "" if status.summary.result_psnr is None else f", {status.summary.result_psnr:.2f} dB"
                report = f"{printable(status.run.id)}  {printable(status.summary.name, 60)}: {status.state}{result}"
                print(_as_json(status) if as_json else report, flush=True)
                codes.add(exit_code(status.state))
        pending = [status.run for status in statuses if status.state.live]
        if pending:
            time.sleep(STATUS_SECONDS)
    return 1 if 1 in codes else max(codes)


def stop(run: RunArgument, runs_dir: RunsDir = None) -> int:
    """Stop a run, or all runs of a group: each finishes its step and writes a checkpoint, or is ended."""
    runs = find_runs([run], runs_dir)
    if len(runs) > 1:
        return _stop_all(run, runs)
    state = local.stop(runs[0])
    print(f"{printable(runs[0].id)} is {state}")
    return 1 if state.live else 0


def _stop_all(group: str, runs: list[Run]) -> int:
    stopped = local.stop_all(runs)
    if not stopped:
        raise UserError(f"No run of the group {printable(group)} is running.", "See their states with dipddpm ls.")
    states = Counter(run.status().state for run in stopped)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    print(f"{len(stopped)} runs of the group {printable(group)}: {counts}")
    return 1 if any(state.live for state in states) else 0


def resume(
    run: RunArgument,
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once.")] = False,
    now: Now = False,
    on: On = None,
    mirror: Mirror = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> int:
    """Go on with a run that was stopped, failed or crashed, from its last checkpoint, or with all those of a group.

    A group goes on by itself: nobody follows many runs in lines.
    """
    if on is not None and on != submit.HERE:
        submit.refuse(on)
    runs = find_runs([run], runs_dir)
    several = len(runs) > 1
    if several and not (runs := [one for one in reversed(runs) if one.status().state.resumable]):
        raise UserError(f"No run of the group {printable(run)} can go on.", "See their states with dipddpm ls.")
    for one in runs:
        if mirror is not None:
            request_mirror(one, mirror)
        local.resume(one, now=now, on=on or "")
        if several or detach:
            print(printable(one.id))
    return 0 if several or detach else follow(runs[0], as_json=json, stop_on_interrupt=True)


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Columns padded to their widest cell, by what the cells take up on a terminal."""
    from rich.cells import cell_len

    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())


def _list_row(status: RunStatus) -> tuple[str, ...]:
    summary = status.summary
    share = summary.progress
    return (
        printable(status.run.id, 60),
        printable(summary.method or "?", 20),
        _state_text(status),
        "" if share is None else f"{share:.0%}",
        "" if summary.best_loss is None else f"{summary.best_loss:.4f}",
        "" if summary.result_psnr is None else f"{summary.result_psnr:.2f}",
        "" if summary.gain is None else f"{summary.gain:+.2f}",
        format_duration(elapsed_seconds(status)) if summary.started else "",
        _format_age(status.at - status.run.created),
        printable(summary.name if summary.kind else status.trouble, 60),
    )


def _state_text(status: RunStatus) -> str:
    if status.run.reference:
        return "reference"
    if status.state is RunState.queued and (reason := _slurm_reason(status)):
        return f"{status.state}, {reason}"
    return f"{status.state}, stalled" if status.stalled else str(status.state)


def _slurm_reason(status: RunStatus) -> str:
    """Why a job waits, in Slurm's words."""
    return printable(status.job.slurm_job.reason, 30) if status.job is not None else ""


def _state_remark(status: RunStatus) -> str:
    if status.run.reference:
        return " (a reference run, which ships with the program)"
    if status.state is RunState.queued and (reason := _slurm_reason(status)):
        return f" (Slurm: {reason})"
    return " (alive, but not advancing)" if status.stalled else ""


def _facts(status: RunStatus) -> list[tuple[str, str]]:
    summary, run = status.summary, status.run
    facts = [
        ("run", printable(run.id)),
        ("name", printable(status.config.name) if status.config else ""),
        ("group", status.config.group if status.config else ""),
        ("state", f"{status.state}{_state_remark(status)}"),
        ("what", f"{status.config.kind} {status.config.method}" if status.config else ""),
        ("data", printable(summary.dataset)),
        ("device", printable(summary.device)),
        ("job", f"{job.id}, {printable(job.on)}" if (job := slurm.read(run.folder)) else ""),
        ("done", _progress_text(status)),
        ("time", format_duration(elapsed_seconds(status)) if summary.started else ""),
        (
            "best loss",
            f"{summary.best_loss:.4f} at epoch {summary.best_epoch}" if summary.best_loss is not None else "",
        ),
        ("PSNR", "" if summary.psnr is None else f"{summary.psnr:.2f} dB"),
        ("gain", "" if summary.gain is None else f"{summary.gain:+.2f} dB over the better parent in as long"),
        ("peak PSNR", "" if summary.peak_psnr is None else f"{summary.peak_psnr:.2f} dB at {summary.peak_step}"),
        (
            "stopped at",
            f"{summary.stop_psnr:.2f} dB, iteration {summary.stop_step}" if summary.stop_psnr is not None else "",
        ),
        ("speed", f"{summary.images_per_second:,.0f} images/s" if summary.images_per_second else ""),
        ("error", printable(summary.error)),
        ("what to do", printable(status.hint)),
        ("folder", printable(str(run.folder))),
        ("best model", printable(str(run.folder / summary.best_file)) if summary.best_file else ""),
        ("report", printable(str(run.folder / REPORT)) if (run.folder / REPORT).is_file() else ""),
    ]
    return [(key, value) for key, value in facts if value]


def _by_timestep(status: RunStatus, events: list[Event]) -> list[str]:
    """The error of eps of the last epoch in each part of the timesteps, as a table."""
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
    share = "" if summary.progress is None else f", {summary.progress:.0%}"
    if summary.epochs:
        return f"epoch {summary.epoch} of {summary.epochs}{share}"
    return f"step {summary.step:,} of {summary.steps:,}{share}" if summary.steps else ""


def elapsed_seconds(status: RunStatus) -> float:
    """Seconds from its start to its end, or to now."""
    summary = status.summary
    end = status.at if status.state is RunState.running else summary.ended or summary.last
    return max(0.0, end - summary.started)


def _format_age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def _as_json(status: RunStatus) -> str:
    record = _Record(
        id=_valid_unicode(status.run.id),
        folder=_valid_unicode(str(status.run.folder)),
        state=status.state,
        created=status.run.created,
        kind=status.config.kind if status.config else "",
        method=status.config.method if status.config else "",
        name=status.config.name if status.config else "",
        group=status.config.group if status.config else "",
        stalled=status.stalled,
        reference=status.run.reference,
        summary=status.summary,
        config=msgspec.to_builtins(status.config) if status.config else None,
    )
    return printable_json(records.dump(record).decode())


def _valid_unicode(name: str) -> str:
    """The name of a file; bytes in it that aren't UTF-8, which JSON can't hold, become question marks."""
    return name.encode(errors="replace").decode()


class _Record(msgspec.Struct, kw_only=True):
    """A run as `--json` gives it."""

    id: str
    folder: str
    state: RunState
    created: float
    kind: str
    method: str
    name: str
    group: str
    stalled: bool
    reference: bool
    summary: Any
    config: Any
