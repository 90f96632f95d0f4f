"""Make reference runs: `python -m scripts.make_reference_run FOLDER...` puts them among the shipped ones.

What they were made of and what came of it stays; whose machine they were made on, and what only resuming needs, does
not. With `--without-weights` their best models stay behind, too: they are there to be looked at.
"""

from __future__ import annotations

import argparse
import getpass
import re
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import AnyEvent
from dipddpm.core.io import atomic
from dipddpm.core.runs import BEST_FILE, CONFIG_FILE, ENVIRONMENT_FILE, EventLog, Run, RunState, reference, summary
from dipddpm.core.runs.environment import Environment

DOCUMENTS = ("report.md", "report.html", "explanation.json", "scores.json", "scores.txt")
"""What experiments have written for people and programs, beside what every run has."""
STEPS = 1_000
"""About so many of the logged steps are kept, evenly: a curve doesn't show more, and an epoch is told whole anyway."""
_PICTURE = re.compile(r"base64,[\w+/=]+")
"""In a page: letters at random, in which a short name turns up sooner or later."""
_ABSOLUTE = re.compile(r'"(?:~|/|[A-Za-z]:\\)[^"]*"')


def make_reference(run: Run, root: Path = reference.FOLDER, *, weights: bool = True) -> Run:
    """Copy a finished run into `place`, without its host, its paths and its last checkpoint; the copy.

    Without `weights` its best model stays behind too, and what the log tells of it names no file.

    Raises UserError for a run that isn't finished, whose data lie in a folder of this machine, or in which something
    of this machine is left.
    """
    status = run.status()
    if status.state is not RunState.finished:
        raise UserError(f"The run {run.id} is {status.state}, not finished.", "Let it finish first.")
    config = _without_paths(run.config())
    folder = root / run.id
    try:
        folder.mkdir(parents=True)
        atomic.write_atomic(folder / CONFIG_FILE, configs.to_toml(config).encode())
        if environment := _environment(run):
            system = environment.system.partition("-")[0]
            anonymous = msgspec.structs.replace(environment, host="", command="", system=system)
            atomic.write_atomic(folder / ENVIRONMENT_FILE, msgspec.json.format(msgspec.json.encode(anonymous)) + b"\n")
        patterns = ["images/*.png", *DOCUMENTS, *[BEST_FILE] * weights]
        for source in (path for pattern in patterns for path in run.files(pattern)):
            target = folder / source.relative_to(run.folder)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)
        log = EventLog(folder)
        for event in _scrub(run.events()):
            if isinstance(event, events.BestModelStored) and not weights:
                event = msgspec.structs.replace(event, file="", sha256="")  # noqa: PLW2901
            log.append(event)
        log.close()
        summary.write(folder, summary.rebuild(folder))
    except FileExistsError:
        raise UserError(f"There already is a reference run {run.id}.", "Delete its folder first.") from None
    if leaks := find_leaks(folder, _names(run)):
        shutil.rmtree(folder)
        raise UserError(f"The run {run.id} still tells of this machine: {leaks[0]}.", "Take it out, or choose another.")
    return Run(folder)


def find_leaks(folder: Path, names: Iterable[str] = ()) -> list[str]:
    """Where the texts of a run folder hold an absolute path, or one of these names as a word: file and line."""
    words = [re.compile(rf"(?<![\w.]){re.escape(name)}(?![\w.])") for name in names if name]
    leaks = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in {".json", ".jsonl", ".toml", ".md", ".html", ".txt"}:
            continue
        text = _PICTURE.sub("", path.read_text(encoding="utf-8"))
        for number, line in enumerate(text.splitlines(), 1):
            if _ABSOLUTE.search(line) or any(word.search(line) for word in words):
                leaks.append(f"{path.relative_to(folder)}, line {number}")
    return leaks


def _without_paths(config: AnyRun) -> AnyRun:
    """The config, with no folder of this machine in it."""
    values: dict[str, Any] = msgspec.to_builtins(config)
    if values["data"]["dataset"].startswith("folder:") or values.get("images", {}).get("files"):
        raise UserError("The run's images lie in files of this machine.", "Choose a run on a published data set.")
    values["data"]["directory"] = ""
    return configs.from_builtins(values)


def _environment(run: Run) -> Environment | None:
    try:
        return msgspec.json.decode(atomic.read(run.folder / ENVIRONMENT_FILE), type=Environment)
    except (OSError, ValueError):
        return None


def _scrub(history: list[AnyEvent]) -> Iterable[AnyEvent]:
    """The history as one reads it: where the data lay, the checkpoints that don't come along, and most steps left out.

    A resume stands where it was, but voids nothing any more: what it did is left out already.
    """
    steps = sum(isinstance(event, events.Step) for event in history)
    every, seen = max(1, steps // STEPS), 0
    for event in history:
        match event:
            case events.Step():
                seen += 1
                if seen % every == 0:
                    yield event
            case events.DataLoaded():
                yield msgspec.structs.replace(event, source="")
            case events.RunResumed():
                yield msgspec.structs.replace(event, from_offset=None)
            case events.CheckpointStored() | events.RunQueued():
                pass
            case _:
                yield event


def _names(run: Run) -> list[str]:
    """What this machine and the one that the run was made on are called, and who works here; root works everywhere."""
    environment = _environment(run)
    names = {socket.gethostname(), getpass.getuser(), environment.host if environment else ""}
    return sorted(names - {"root"})


def main() -> None:
    """Of each folder that is named."""
    parser = argparse.ArgumentParser(prog="scripts.make_reference_run")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--without-weights", action="store_true")
    options = parser.parse_args()
    for folder in options.folders:
        print(make_reference(Run(folder.absolute()), weights=not options.without_weights).folder)


if __name__ == "__main__":
    main()
