"""`dipddpm ls`, `show`, `watch`, `stop` and `resume`: runs that exist."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Annotated, Any

import msgspec
import typer

from core import cluster, launch, plain
from core import config as configs
from core.config import DdpmRun, HybridRun
from core.errors import UserError
from core.events import AnyEvent, EpochFinished, Message, SamplesEvaluated
from core.export.mirror import wish
from core.runs import Glance, Run, RunsFolder, State
from core.runs import job as jobs
from core.text import printable, printable_json
from tui.board import board_of
from tui.commands.options import GroupOf, Json, Mirror, Now, On, RunArgument, RunsDir, find_group, find_run, find_runs
from tui.follow import LOOK_SECONDS, exit_code, follow
from tui.lines import duration, line

COLUMNS = ("ID", "METHOD", "STATE", "DONE", "LOSS", "PSNR", "GAIN", "TIME", "AGE", "NAME")
TOLD = {"explanation", "study"}
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
    folder = RunsFolder(launch.runs_root(runs_dir))
    runs = folder.runs() if group is None else find_group(group, runs_dir)
    shown = runs if everything or group is not None else runs[:limit]
    glances = [run.look() for run in (*shown, *(folder.references() if group is None else ()))]
    if json:
        print("[" + ",\n".join(map(_as_json, glances)) + "]")
        return
    if not runs:
        print(f"No runs in {folder.root} yet. Start one with: dipddpm run hybrid --preset quick", file=sys.stderr)
    if glances:
        table = [COLUMNS, *map(_row, glances)]
        if group is None and any(glance.summary.group for glance in glances):
            names = ["GROUP", *(printable(glance.summary.group, 80) for glance in glances)]
            table = [(*row[:-1], name, row[-1]) for row, name in zip(table, names, strict=True)]
        print_table(table)
    if len(shown) < len(runs):
        print(f"and {len(runs) - len(shown)} older; --all shows them", file=sys.stderr)


def show(run: RunArgument, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Show one run: its state, its numbers, its files and its config."""
    found = find_run(run, runs_dir)
    glance = found.look()
    if json:
        print(_as_json(glance))
        return
    for key, value in _facts(glance):
        print(f"{key:<12} {value}")
    events = found.events()
    epochs = [text for event in events if (text := line(event)) and text.startswith("Loss at epoch")]
    for text in epochs[-5:]:
        print(f"{'':<12} {text}")
    for text in _by_timestep(glance, events):
        print(text)
    for event in events:
        if isinstance(event, SamplesEvaluated) or (isinstance(event, Message) and glance.summary.kind in TOLD):
            print(f"{'':<12} {line(event)}")
    print("".join(f"{text}\n" for text in ["", *board_of(found)]))
    told = configs.to_toml(glance.config) if glance.config else glance.trouble
    print("\n".join(map(printable, told.rstrip().split("\n"))))


def watch(run: RunArgument = "last", runs_dir: RunsDir = None, json: Json = False) -> int:
    """Follow a run until it ends, or those of a group until all have. Ctrl-C only leaves; the runs go on."""
    found = find_runs([run], runs_dir)
    return follow(found[0], as_json=json) if len(found) == 1 else _await_all(found, as_json=json)


def _await_all(runs: list[Run], *, as_json: bool) -> int:
    """Tell of each run that it has ended; 0 if all of them are finished, and a failure counts for more than a stop."""
    left, codes = runs, {0}
    while left:
        glances = [run.look() for run in left]
        for glance in glances:
            if not glance.state.live:
                came_to = "" if glance.summary.result_psnr is None else f", {glance.summary.result_psnr:.2f} dB"
                told = f"{printable(glance.run.id)}  {printable(glance.summary.name, 60)}: {glance.state}{came_to}"
                print(_as_json(glance) if as_json else told, flush=True)
                codes.add(exit_code(glance.state))
        left = [glance.run for glance in glances if glance.state.live]
        if left:
            time.sleep(LOOK_SECONDS)
    return 1 if 1 in codes else max(codes)


def stop(run: RunArgument, runs_dir: RunsDir = None) -> int:
    """Stop a run, or all runs of a group: each finishes its step and writes a checkpoint, or is ended."""
    found = find_runs([run], runs_dir)
    if len(found) > 1:
        return _stop_all(run, found)
    state = launch.stop(found[0])
    print(f"{printable(found[0].id)} is {state}")
    return 1 if state.live else 0


def _stop_all(group: str, runs: list[Run]) -> int:
    stopped = launch.stop_all(runs)
    if not stopped:
        raise UserError(f"No run of the group {printable(group)} is running.", "See their states with dipddpm ls.")
    states = Counter(run.look().state for run in stopped)
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    print(f"{len(stopped)} runs of the group {printable(group)}: {told}")
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
    if on is not None and on != cluster.HERE:
        cluster.refuse(on)
    found = find_runs([run], runs_dir)
    several = len(found) > 1
    if several and not (found := [one for one in reversed(found) if one.look().state.resumable]):
        raise UserError(f"No run of the group {printable(run)} can go on.", "See their states with dipddpm ls.")
    for one in found:
        if mirror is not None:
            wish(one, mirror)
        launch.resume(one, now=now, on=on or "")
        if several or detach:
            print(printable(one.id))
    return 0 if several or detach else follow(found[0], as_json=json, stop_on_interrupt=True)


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Columns padded to their widest cell, by what the cells take up on a terminal."""
    from rich.cells import cell_len

    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())


def _row(glance: Glance) -> tuple[str, ...]:
    told = glance.summary
    share = told.progress
    return (
        printable(glance.run.id, 60),
        printable(told.method or "?", 20),
        _state(glance),
        "" if share is None else f"{share:.0%}",
        "" if told.best_loss is None else f"{told.best_loss:.4f}",
        "" if told.result_psnr is None else f"{told.result_psnr:.2f}",
        "" if told.gain is None else f"{told.gain:+.2f}",
        duration(spent(glance)) if told.started else "",
        _age(glance.at - glance.run.created),
        printable(told.name if told.kind else glance.trouble, 60),
    )


def _state(glance: Glance) -> str:
    if glance.run.reference:
        return "reference"
    if glance.state is State.queued and (why := _reason(glance)):
        return f"{glance.state}, {why}"
    return f"{glance.state}, stalled" if glance.stalled else str(glance.state)


def _reason(glance: Glance) -> str:
    """Why a job waits, in Slurm's words."""
    return printable(glance.job.told.reason, 30) if glance.job is not None and glance.job.told is not None else ""


def _remark(glance: Glance) -> str:
    if glance.run.reference:
        return " (a reference run, which ships with the program)"
    if glance.state is State.queued and (why := _reason(glance)):
        return f" (Slurm: {why})"
    return " (alive, but not advancing)" if glance.stalled else ""


def _facts(glance: Glance) -> list[tuple[str, str]]:
    told, run = glance.summary, glance.run
    facts = [
        ("run", printable(run.id)),
        ("name", printable(glance.config.name) if glance.config else ""),
        ("group", glance.config.group if glance.config else ""),
        ("state", f"{glance.state}{_remark(glance)}"),
        ("what", f"{glance.config.kind} {glance.config.method}" if glance.config else ""),
        ("data", printable(told.dataset)),
        ("device", printable(told.device)),
        ("job", f"{job.id}, {printable(job.on)}" if (job := jobs.read(run.folder)) else ""),
        ("done", _done(glance)),
        ("time", duration(spent(glance)) if told.started else ""),
        ("best loss", f"{told.best_loss:.4f} at epoch {told.best_epoch}" if told.best_loss is not None else ""),
        ("PSNR", "" if told.psnr is None else f"{told.psnr:.2f} dB"),
        ("gain", "" if told.gain is None else f"{told.gain:+.2f} dB over the better parent in as long"),
        ("peak PSNR", "" if told.peak_psnr is None else f"{told.peak_psnr:.2f} dB at {told.peak_step}"),
        ("stopped at", f"{told.stop_psnr:.2f} dB, iteration {told.stop_step}" if told.stop_psnr is not None else ""),
        ("speed", f"{told.images_per_second:,.0f} images/s" if told.images_per_second else ""),
        ("error", printable(told.error)),
        ("what to do", printable(glance.hint)),
        ("folder", printable(str(run.folder))),
        ("best model", printable(str(run.folder / told.best_file)) if told.best_file else ""),
        ("report", printable(str(run.folder / REPORT)) if (run.folder / REPORT).is_file() else ""),
    ]
    return [(key, value) for key, value in facts if value]


def _by_timestep(glance: Glance, events: list[AnyEvent]) -> list[str]:
    """The error of eps of the last epoch in each part of the timesteps, as a table."""
    bands = next((event.bands for event in reversed(events) if isinstance(event, EpochFinished)), [])
    if not bands or not isinstance(glance.config, DdpmRun | HybridRun):
        return []
    edges = [glance.config.ddpm.timesteps * i // len(bands) for i in range(len(bands) + 1)]
    return [
        f"{'eps by t' if first == 0 else '':<12} {f'{first}-{last - 1}':>9}  {error:.4f}"
        for first, last, error in zip(edges, edges[1:], bands, strict=False)
    ]


def _done(glance: Glance) -> str:
    told = glance.summary
    share = "" if told.progress is None else f", {told.progress:.0%}"
    if told.epochs:
        return f"epoch {told.epoch} of {told.epochs}{share}"
    return f"step {told.step:,} of {told.steps:,}{share}" if told.steps else ""


def spent(glance: Glance) -> float:
    """Seconds from its start to its end, or to now."""
    told = glance.summary
    end = glance.at if glance.state is State.running else told.ended or told.last
    return max(0.0, end - told.started)


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def _as_json(glance: Glance) -> str:
    record = _Record(
        id=_unicode(glance.run.id),
        folder=_unicode(str(glance.run.folder)),
        state=glance.state,
        created=glance.run.created,
        kind=glance.config.kind if glance.config else "",
        method=glance.config.method if glance.config else "",
        name=glance.config.name if glance.config else "",
        group=glance.config.group if glance.config else "",
        stalled=glance.stalled,
        reference=glance.run.reference,
        summary=glance.summary,
        config=msgspec.to_builtins(glance.config) if glance.config else None,
    )
    return printable_json(plain.dump(record).decode())


def _unicode(name: str) -> str:
    """The name of a file; bytes in it that aren't UTF-8, which JSON can't hold, become question marks."""
    return name.encode(errors="replace").decode()


class _Record(msgspec.Struct, kw_only=True):
    """A run as `--json` gives it."""

    id: str
    folder: str
    state: State
    created: float
    kind: str
    method: str
    name: str
    group: str
    stalled: bool
    reference: bool
    summary: Any
    config: Any
