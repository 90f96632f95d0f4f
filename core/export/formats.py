"""What a run can be exported to, and how it gets there: refused before any work, and put in place whole."""

from __future__ import annotations

import getpass
import importlib.util
import os
import shlex
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipddpm.core import registry
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.export.snapshot import Record, safe_name
from dipddpm.core.io import atomic
from dipddpm.core.runs import Run


@dataclass(frozen=True)
class Format:
    """A format of exports. `writer` fills a folder that is made for it; with `suffix` it writes one file instead.

    `check` raises UserError for a run that has nothing to give. `module` is a package that must be installed, which
    our extra of the same name brings. `then` is what one does with the result: `{store}` is the folder of all runs,
    `{place}` that of this one. With `holds`, which says whether a run is there, all runs lie in one store under names
    of the store's own: the writer then gets the store, and replaces the run in it.
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
        """What to say where the package that it needs isn't installed."""
        if not self.module or importlib.util.find_spec(self.module) is not None:
            return None
        problem = f"This needs the package {self.module}, which is not installed."
        return UserError(problem, f"Install it: pip install 'dipddpm[{self.module}]'")

    def path(self, store: Path, run: Run) -> Path:
        """The place of a run in `store`, the folder of this format."""
        return store if self.holds else store / f"{safe_name(run.id)}{self.suffix}"

    def has(self, store: Path, run: Run) -> bool:
        """Whether the store has an export of the run."""
        return bool(_function(self.holds)(store, run.id)) if self.holds else os.path.lexists(self.path(store, run))


FORMATS: dict[str, Format] = {
    "files": Format("CSV, JSON, the config and the pictures", "tables:write_files"),
    "csv": Format("the numbers as tables, for spreadsheets", "tables:write_csv", "tables:tables"),
    "jsonl": Format("the same as JSON lines, for data frames and Parquet", "tables:write_jsonl", "tables:tables"),
    "figures": Format("PDF, SVG and PNG as wide as a paper's column", "figures:write", "figures:drawings"),
    "html": Format("a report in one file", "html:write", suffix=".html"),
    "model": Format("the trained model with its card", "model:write", "model:refuse"),
    "tensorboard": Format(
        "event files of TensorBoard", "tensorboard:write", module="tensorboard", then="tensorboard --logdir {store}"
    ),
    "wandb": Format(
        "an offline run of Weights & Biases", "wandb:write", module="wandb", then="wandb sync {place}/offline-run-*"
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
    """What was written, and what one does with it, if anything."""

    run: str
    format: str
    path: Path
    then: str


class AlreadyThereError(UserError):
    """An export of the same run is in the way."""


def export(runs: Sequence[Run], formats: Sequence[str], folder: Path, *, replace: bool = False) -> list[Exported]:
    """Write runs to FOLDER/FORMAT/RUN, each whole or not at all; a run that still goes on is told as far as it is.

    Raises UserError, before anything is written, for an unknown format, a package that is missing, a run that has
    nothing to give, and (`AlreadyThereError`) for what is there already, unless it is to be replaced. Later it does so
    only for a folder that can't be written.
    """
    refuse(formats)
    stores = {name: folder.absolute() / name for name in formats}
    for run in runs:
        for name, store in stores.items():
            if not replace and FORMATS[name].has(store, run):
                problem = f"{FORMATS[name].path(store, run)} is there already."
                raise AlreadyThereError(problem, "Replace it with --force, or choose another folder.")
    checks = dict.fromkeys(filter(None, (FORMATS[name].check for name in stores)))
    for run in runs if checks else ():
        record = Record.of(run)
        for check in checks:
            _function(check)(record)
    exported = []
    for run in runs:  # one record at a time: a long run's history takes room
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
    try:
        store.mkdir(parents=True, exist_ok=True)
        if export_format.holds:
            _function(export_format.writer)(record, store)
        else:
            _put_in_place(record, export_format, path)
    except OSError as error:
        problem = f"{path} can't be written: {error.strerror or error}."
        raise UserError(problem, "Free some space, or choose another folder.") from None
    then = export_format.then.format(store=shlex.quote(str(store)), place=shlex.quote(str(path)))
    return Exported(record.run.id, name, path, then)


def _put_in_place(record: Record, export_format: Format, path: Path) -> None:
    """Write beside the place, and move there what is whole."""
    staged = path.with_name(f".{path.name}.{os.getpid()}{atomic.TEMPORARY}")
    try:
        if not export_format.suffix:
            staged.mkdir()
        _function(export_format.writer)(record, staged)
        _remove(path)
        staged.rename(path)
    except BaseException:
        _remove(staged)
        raise


def _function(path: str) -> Any:
    """The function `module:name` of this package."""
    return registry.resolve(f"dipddpm.core.export.{path}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def scp_line(path: Path) -> str:
    """The command that, typed on one's own machine, fetches the file or folder from this one."""
    host = f"{getpass.getuser()}@{socket.gethostname()}"
    return f"scp -r {shlex.quote(f'{host}:{path.absolute()}')} ."
