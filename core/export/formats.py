"""The formats of exports, and the export itself: refused before any work, and written completely or not at all."""

from __future__ import annotations

import importlib.util
import os
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipddpm.core import registry
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.export.snapshot import Record, safe_name
from dipddpm.core.io import home, output
from dipddpm.core.io.output import OutputExistsError
from dipddpm.core.runs import Run


@dataclass(frozen=True)
class Format:
    """A format of exports; `writer`, `check` and `holds` name functions of this package as `module:function`.

    `writer` fills a new folder, or writes one file if there is a `suffix`. `check` raises UserError for a run that has
    nothing to export. `module` is a required package, which our extra of the same name installs. `then` is a command
    for the result, where `{store}` is the folder of all runs and `{path}` the export of this run. A format with
    `holds` keeps all runs in one store: `holds` returns whether the store has a run, and `writer` replaces the run.
    """

    words: str
    writer: str
    check: str = ""
    suffix: str = ""
    module: str = ""
    then: str = ""
    holds: str = ""

    @property
    def missing(self) -> UserError | None:
        """The error about the required package; None if the package is installed."""
        if not self.module or importlib.util.find_spec(self.module) is not None:
            return None
        problem = f"This format needs the package {self.module}, which is not installed."
        return UserError(problem, f"Install it: pip install 'dipddpm[{self.module}]'")

    def path(self, store: Path, run: Run) -> Path:
        """Return the path of a run's export in `store`, the folder of this format."""
        return store if self.holds else store / f"{safe_name(run.id)}{self.suffix}"

    def has(self, store: Path, run: Run) -> bool:
        """Return whether the store has an export of the run."""
        return bool(_function(self.holds)(store, run.id)) if self.holds else os.path.lexists(self.path(store, run))


FORMATS: dict[str, Format] = {
    "files": Format("CSV, JSON, the config and the pictures", "tables:write_files"),
    "images": Format("each restored image and sample as PNG", "images:write", "images:refuse"),
    "csv": Format("all numbers as CSV tables, for spreadsheets", "tables:write_csv", "tables:tables"),
    "jsonl": Format("all numbers as JSON lines, for data frames and Parquet", "tables:write_jsonl", "tables:tables"),
    "figures": Format("PDF, SVG and PNG figures as wide as a paper's column", "figures:write", "figures:drawings"),
    "html": Format("a report in one HTML file", "html:write", suffix=".html"),
    "model": Format("the trained model with a model card", "model:write", "model:refuse"),
    "tensorboard": Format(
        "TensorBoard event files", "tensorboard:write", module="tensorboard", then="tensorboard --logdir {store}"
    ),
    "wandb": Format(
        "an offline run of Weights & Biases", "wandb:write", module="wandb", then="wandb sync {path}/offline-run-*"
    ),
    "mlflow": Format(
        "a run in an MLflow store",
        "mlflow:write",
        module="mlflow",
        then="MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {store}",
        holds="mlflow:holds",
    ),
}


@dataclass(frozen=True)
class Exported:
    """An export that was written; `then` is a command to use it with, or empty."""

    run: str
    format: str
    path: Path
    then: str


def export(runs: Sequence[Run], formats: Sequence[str], folder: Path, *, replace: bool = False) -> list[Exported]:
    """Write runs to FOLDER/FORMAT/RUN, each completely or not at all; a live run is exported as it is now.

    Raises UserError, before anything is written, for an unknown format, a missing package or a run that has nothing to
    export, for a folder that can't be written, and `OutputExistsError` for an existing export, unless `replace` is
    set. Once writing has begun, only a disk that fails or is full raises UserError, and it leaves nothing behind.
    """
    refuse(formats)
    stores = {name: folder.absolute() / name for name in formats}
    for store in stores.values():
        output.refuse_folder(store)
    for run in runs:
        run.refuse_unreadable("images", "checkpoints")
        for name, store in stores.items():
            if not replace and FORMATS[name].has(store, run):
                problem = f"{FORMATS[name].path(store, run)} exists already."
                raise OutputExistsError(problem, "Replace it with --force, or choose another folder.")
    checks = dict.fromkeys(filter(None, (FORMATS[name].check for name in stores)))
    for run in runs if checks else ():
        record = Record.of(run)
        for check in checks:
            _function(check)(record)
    exported = []
    for run in runs:  # only one record at a time, because a long run's history needs much memory
        record = Record.of(run)
        exported += [_write(record, name, store) for name, store in stores.items()]
    return exported


def refuse(formats: Sequence[str]) -> None:
    """Raise UserError for a format that is unknown, or whose package isn't installed."""
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"There is no format {name!r}.", suggest(name, FORMATS))
        if (missing := FORMATS[name].missing) is not None:
            raise missing


def _write(record: Record, name: str, store: Path) -> Exported:
    export_format, path = FORMATS[name], FORMATS[name].path(store, record.run)
    writer = _function(export_format.writer)
    try:
        if export_format.holds:
            writer(record, store)
        else:
            with output.replacing(path) as new:
                if not export_format.suffix:
                    new.mkdir()
                writer(record, new)
    except OSError as error:
        raise _unwritable(path, error, record.run) from None
    then = export_format.then.format(store=shlex.quote(str(store)), path=shlex.quote(str(path)))
    return Exported(record.run.id, name, path, then)


def _unwritable(path: Path, error: OSError, run: Run) -> UserError:
    """Return the error for an export that failed, which names the run's own file if that can't be read."""
    source = Path(error.filename) if isinstance(error.filename, str) else None
    if source is None or error.filename2 is not None or not source.is_relative_to(run.folder):
        return output.unwritable(path, error)
    return UserError(f"{source} can't be read: {error.strerror}.", "Check the run's folder, then export it again.")


def _function(path: str) -> Any:
    """Return the function `module:name` of this package."""
    return registry.resolve(f"dipddpm.core.export.{path}")


def scp_line(path: Path) -> str:
    """Return the command that copies the path from this machine to the user's own, where it must be typed."""
    host = f"{home.user_name()}@{socket.gethostname()}"
    return f"scp -r {shlex.quote(f'{host}:{path.absolute()}')} ."
