"""A run as a folder of files that any tool reads: CSV for spreadsheets, JSON for programs, PNG for papers."""

from __future__ import annotations

import csv
import getpass
import shlex
import shutil
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from core import events, files, plain
from core.errors import UserError
from core.events import AnyEvent
from core.runs import CONFIG_FILE, Run


class Bundle(NamedTuple):
    """What was written, and where."""

    folder: Path
    files: list[str]


class _Record(msgspec.Struct):
    id: str
    state: str
    config: dict[str, Any] | None
    summary: dict[str, Any]
    events: list[dict[str, Any]]


def bundle(run: Run, folder: Path) -> Bundle:
    """Write a run's series (CSV and JSON), summary, config and images into `folder`, which is made where missing.

    `epochs.csv` has a row an epoch, `steps.csv` a row a logged step, `psnr.csv` a row a look with a column an image,
    `restorations.csv` a row a method and image; only those that the run has. Raises UserError where the folder
    can't be written.
    """
    history = run.events()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [
            *_write_tables(folder, history),
            *_write_json(folder, run, history),
            *_copy(run, folder),
        ]
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error.strerror}.", "Choose another folder.") from None
    return Bundle(folder, written)


def scp_line(folder: Path) -> str:
    """The command that, typed on one's own machine, fetches the folder from this one."""
    host = f"{getpass.getuser()}@{socket.gethostname()}"
    return f"scp -r {shlex.quote(f'{host}:{folder.absolute()}')} ."


def _write_tables(folder: Path, history: Sequence[AnyEvent]) -> list[str]:
    epochs = [event for event in history if isinstance(event, events.EpochFinished)]
    steps = [event for event in history if isinstance(event, events.Step)]
    looks = [event for event in history if isinstance(event, events.PsnrMeasured)]
    scores = [event for event in history if isinstance(event, events.RestorationScored)]
    columns = max((len(look.psnr) for look in looks), default=0)
    tables: dict[str, tuple[list[str], list[list[Any]]]] = {
        "epochs.csv": (
            ["epoch", "step", "time", "loss", "held_out", "best", "lr", "images_per_second", "seconds"],
            [
                [e.epoch, e.step, e.time, e.loss, e.held_out, int(e.best), e.lr, e.images_per_second, e.seconds]
                for e in epochs
            ],
        ),
        "steps.csv": (
            ["step", "epoch", "time", "loss", "lr", "images_per_second"],
            [[s.step, s.epoch, s.time, s.loss, s.lr, s.images_per_second] for s in steps],
        ),
        "psnr.csv": (
            ["step", "time", "mean", *(f"image_{number}" for number in range(columns))],
            [[look.step, look.time, look.mean, *look.psnr] for look in looks],
        ),
        "restorations.csv": (
            ["task", "method", "image", "psnr", "ssim", "nfe", "iterations", "seconds"],
            [
                [
                    s.task,
                    s.method,
                    number,
                    value,
                    s.ssim[number] if number < len(s.ssim) else None,
                    s.nfe,
                    s.iterations,
                    s.seconds,
                ]
                for s in scores
                for number, value in enumerate(s.psnr)
            ],
        ),
    }
    written = []
    for name, (header, rows) in tables.items():
        if rows:
            _write_csv(folder / name, header, rows)
            written.append(name)
    return written


def _write_csv(path: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _write_json(folder: Path, run: Run, history: Sequence[AnyEvent]) -> list[str]:
    glance = run.look()
    record = _Record(
        id=run.id,
        state=str(glance.state),
        config=msgspec.to_builtins(glance.config) if glance.config else None,
        summary=msgspec.to_builtins(glance.summary),
        events=[msgspec.to_builtins(event) for event in history],
    )
    files.replace(folder / "run.json", plain.dump(record), durable=False)
    return ["run.json"]


def _copy(run: Run, folder: Path) -> list[str]:
    """The config and the images; links are left where they are."""
    sources = [run.folder / CONFIG_FILE, *sorted((run.folder / "images").glob("*.png"))]
    written = []
    for source in sources:
        if source.is_file() and not source.is_symlink():
            name = source.relative_to(run.folder)
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, folder / name)
            written.append(name.as_posix())
    return written
