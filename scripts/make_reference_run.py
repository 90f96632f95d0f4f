"""Copy finished runs into `runs/reference/`, which ships with the package.

    python -m scripts.make_reference_run [--without-weights] RUN_FOLDER...

A copy holds the config, the results and the best model, but not the host, paths and user of the machine that made the
run, and no files that only a resume needs. With `--without-weights` the best model is left out, too.
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
from dipddpm.core.config import AnyRun, RestoreRun
from dipddpm.core.data.folder import PREFIX
from dipddpm.core.errors import UserError
from dipddpm.core.events import Event
from dipddpm.core.io import atomic
from dipddpm.core.runs import BEST_FILE, CONFIG_FILE, ENVIRONMENT_FILE, EventLog, Run, RunState, reference, summary
from dipddpm.core.runs.environment import Environment

DOCUMENTS = ("report.md", "report.html", "explanation.json", "scores.json", "scores.txt")
"""Files that only some kinds of run write."""
DRAWN = "dead-leaves"
"""Name of the folder of images that `scripts.draw_leaves` draws, which anyone can draw again."""
STEPS = 1_000
"""Approximate number of logged steps in the copy, evenly spaced, which is enough for a curve."""
_PICTURE = re.compile(r"base64,[\w+/=]+")
"""A picture in a page; its letters may contain a short name by chance."""
_ABSOLUTE = re.compile(r'"(?:~|/|[A-Za-z]:\\)[^"]*"')


def make_reference(run: Run, root: Path = reference.FOLDER, *, weights: bool = True) -> Run:
    """Copy a finished run into a folder of `root`, without its host, its paths and its last checkpoint.

    Without `weights` the best model is not copied either, and the log names no file for it. Raises UserError for a run
    that isn't finished, that read images from a folder of this machine, whose texts still name this machine, or that
    is in `root` already.
    """
    status = run.status()
    if status.state is not RunState.finished:
        raise UserError(f"The run {run.id} is {status.state}, not finished.", "Wait until it has finished.")
    config = _without_paths(_of_whole_board(run))
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
        raise UserError(f"The reference run {run.id} exists already.", "Delete its folder first.") from None
    if leaks := find_leaks(folder, _names(run)):
        shutil.rmtree(folder)
        raise UserError(
            f"The run {run.id} still names this machine: {leaks[0]}.", "Remove that line, or choose another run."
        )
    return Run(folder)


def find_leaks(folder: Path, names: Iterable[str] = ()) -> list[str]:
    """List the lines in a run folder's texts that hold an absolute path, or one of these names as a word."""
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


def _of_whole_board(run: Run) -> AnyRun:
    """Return the config of a run; that of a head-to-head that adds images to another one names the images of both."""
    config = run.config()
    if not isinstance(config, RestoreRun) or not config.restore.earlier:
        return config
    first = min(event.first for event in run.events() if isinstance(event, events.RestorationScored))
    images = config.restore.first + config.restore.images - first
    restore = msgspec.structs.replace(config.restore, first=first, images=images, earlier="")
    return msgspec.structs.replace(config, restore=restore)


def _without_paths(config: AnyRun) -> AnyRun:
    """Return the config without folders of this machine; of a folder of drawn images, only the name remains."""
    values: dict[str, Any] = msgspec.to_builtins(config)
    dataset = values["data"]["dataset"] = _without_folder(values["data"]["dataset"])
    if (dataset.startswith(PREFIX) and dataset != PREFIX + DRAWN) or values.get("images", {}).get("files"):
        raise UserError("The run's images are files of this machine.", "Choose a run on a published data set.")
    values["data"]["directory"] = ""
    return configs.from_builtins(values)


def _without_folder(dataset: str) -> str:
    """Return the name of a data set; of a folder of drawn images, only its last part remains."""
    return PREFIX + DRAWN if dataset.startswith(PREFIX) and Path(dataset).name == DRAWN else dataset


def _environment(run: Run) -> Environment | None:
    try:
        return msgspec.json.decode(atomic.read(run.folder / ENVIRONMENT_FILE), type=Environment)
    except (OSError, ValueError):
        return None


def _scrub(history: list[Event]) -> Iterable[Event]:
    """Yield the logical history without the data's folder and checkpoints, and with fewer steps.

    Resumes remain, but void no events, because the logical history has already dropped the void ones.
    """
    steps = sum(isinstance(event, events.Step) for event in history)
    every, count = max(1, steps // STEPS), 0
    for event in history:
        match event:
            case events.Step():
                count += 1
                if count % every == 0:
                    yield event
            case events.DataLoaded():
                yield msgspec.structs.replace(event, dataset=_without_folder(event.dataset), source="", files={})
            case events.RunResumed():
                yield msgspec.structs.replace(event, from_offset=None)
            case events.CheckpointStored() | events.RunQueued():
                pass
            case _:
                yield event


def _names(run: Run) -> list[str]:
    """Return the names of this machine, of the run's machine and of the user; root is no such name."""
    environment = _environment(run)
    names = {socket.gethostname(), getpass.getuser(), environment.host if environment else ""}
    return sorted(names - {"root"})


def main() -> None:
    """Copy each of the named runs."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_reference_run")
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN_FOLDER")
    parser.add_argument("--without-weights", action="store_true")
    options = parser.parse_args()
    for folder in options.folders:
        print(make_reference(Run(folder.absolute()), weights=not options.without_weights).folder.resolve())


if __name__ == "__main__":
    main()
