"""Make a reference run of a finished one: `python -m core.export.reference FOLDER` puts it among those that ship.

What it was made of and what came of it stays; whose machine it was made on, and what only resuming needs, does not.
"""

from __future__ import annotations

import getpass
import re
import shutil
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from core import config as configs
from core import events, files
from core.config import AnyRun
from core.environment import Environment
from core.errors import UserError
from core.events import AnyEvent
from core.runs import CONFIG_FILE, ENVIRONMENT_FILE, EventLog, Run, State, reference, summary

STEPS = 1_000
"""About so many of the logged steps are kept, evenly: a curve doesn't show more, and an epoch is told whole anyway."""
_ABSOLUTE = re.compile(r'"(?:~|/|[A-Za-z]:\\)[^"]*"')


def make_reference(run: Run, place: Path = reference.FOLDER) -> Run:
    """Copy a finished run into `place`, without its host, its paths and its last checkpoint; the copy.

    Raises UserError for a run that isn't finished, whose data lie in a folder of this machine, or in which something
    of this machine is left.
    """
    glance = run.look()
    if glance.state is not State.finished:
        raise UserError(f"The run {run.id} is {glance.state}, not finished.", "Let it finish first.")
    config = _without_paths(run.config())
    folder = place / run.id
    try:
        folder.mkdir(parents=True)
        files.replace(folder / CONFIG_FILE, configs.to_toml(config).encode())
        if environment := _environment(run):
            system = environment.system.partition("-")[0]
            bare = msgspec.structs.replace(environment, host="", command="", system=system)
            files.replace(folder / ENVIRONMENT_FILE, msgspec.json.format(msgspec.json.encode(bare)) + b"\n")
        _copy(run, folder, ["checkpoints/best.safetensors", *_pictures(run)])
        log = EventLog(folder)
        for event in _scrubbed(run.events()):
            log.append(event)
        log.close()
        summary.write(folder, summary.rebuild(folder))
    except FileExistsError:
        raise UserError(f"There already is a reference run {run.id}.", "Delete its folder first.") from None
    if found := left_behind(folder, _names(run)):
        shutil.rmtree(folder)
        raise UserError(f"The run {run.id} still tells of this machine: {found[0]}.", "Take it out, or choose another.")
    return Run(folder)


def left_behind(folder: Path, names: Iterable[str] = ()) -> list[str]:
    """Where the texts of a run folder hold an absolute path, or one of these names as a word: file and line."""
    words = [re.compile(rf"(?<![\w.]){re.escape(name)}(?![\w.])") for name in names if name]
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in {".json", ".jsonl", ".toml"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if _ABSOLUTE.search(line) or any(word.search(line) for word in words):
                found.append(f"{path.relative_to(folder)}, line {number}")
    return found


def _without_paths(config: AnyRun) -> AnyRun:
    """The config, with no folder of this machine in it."""
    values: dict[str, Any] = msgspec.to_builtins(config)
    if values["data"]["dataset"].startswith("folder:") or values.get("images", {}).get("files"):
        raise UserError("The run's images lie in files of this machine.", "Choose a run on a published data set.")
    values["data"]["directory"] = ""
    return configs.from_builtins(values)


def _environment(run: Run) -> Environment | None:
    try:
        return msgspec.json.decode(files.read(run.folder / ENVIRONMENT_FILE), type=Environment)
    except (OSError, ValueError):
        return None


def _scrubbed(history: list[AnyEvent]) -> Iterable[AnyEvent]:
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


def _pictures(run: Run) -> list[str]:
    return sorted(path.relative_to(run.folder).as_posix() for path in (run.folder / "images").glob("*.png"))


def _copy(run: Run, folder: Path, names: Iterable[str]) -> None:
    for name in names:
        if (run.folder / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(run.folder / name, folder / name)


def _names(run: Run) -> list[str]:
    """What this machine and the one that the run was made on are called, and who works here."""
    environment = _environment(run)
    return [socket.gethostname(), getpass.getuser(), environment.host if environment else ""]


if __name__ == "__main__":
    print(make_reference(Run(Path(sys.argv[1]).absolute())).folder)
