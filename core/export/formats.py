"""What a run can be exported to, and how it gets there: refused before any work, and put in place whole."""

from __future__ import annotations

import getpass
import importlib.util
import os
import shlex
import shutil
import socket
from collections.abc import Callable, Sequence
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
    """One way out. `writer` fills a folder that is made for it; with `suffix` it writes one file instead.

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


FORMATS: dict[str, Format] = {
    "files": Format("CSV, JSON, the config and the pictures", "tables:write_files"),
    "csv": Format("the numbers as tables, for spreadsheets", "tables:write_csv", "tables:tables"),
    "jsonl": Format("the same as JSON lines, for data frames and Parquet", "tables:write_jsonl", "tables:tables"),
    "figures": Format("PDF, SVG and PNG as wide as a paper's column", "figures:write", "figures:drawings"),
    "html": Format("a report in one file", "html:write", suffix=".html"),
    "model": Format("the trained model with its card", "model:write", "model:refuse"),
    "tensorboard": Format(
        "event files of TensorBoard",
        "tensorboard:write",
        module="tensorboard",
        then="tensorboard --logdir {store}",
    ),
    "wandb": Format(
        "an offline run of Weights & Biases",
        "wandb:write",
        module="wandb",
        then="wandb sync {place}/offline-run-*",
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
    chosen = list(dict.fromkeys(formats))
    targets = [_Target(run, name, folder.absolute() / name) for run in runs for name in chosen]
    for target in targets:
        if target.exists and not replace:
            problem = f"{target.path} is there already."
            raise AlreadyThereError(problem, "Replace it with --force, or choose another folder.")
    checks = dict.fromkeys(filter(None, (FORMATS[name].check for name in chosen)))
    for run in runs if checks else ():
        record = Record.of(run)
        for check in checks:
            _function(check)(record)
    exported = []
    for run in runs:  # one record at a time: a long run's history takes room
        record = Record.of(run)
        exported += [target.fill(record) for target in targets if target.run == run]
    return exported


def refuse(formats: Sequence[str]) -> None:
    """Raise UserError for a format that is unknown, or whose package isn't installed."""
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"There is no format {name!r}.", suggest(name, FORMATS))
        if (missing := FORMATS[name].missing) is not None:
            raise missing


@dataclass(frozen=True)
class _Target:
    """Where a run goes in one format."""

    run: Run
    name: str
    store: Path

    @property
    def format(self) -> Format:
        return FORMATS[self.name]

    @property
    def path(self) -> Path:
        return self.store if self.format.holds else self.store / f"{safe_name(self.run.id)}{self.format.suffix}"

    @property
    def exists(self) -> bool:
        if self.format.holds:
            return bool(_function(self.format.holds)(self.store, self.run.id))
        return os.path.lexists(self.path)

    def fill(self, record: Record) -> Exported:
        write = _function(self.format.writer)
        try:
            self.store.mkdir(parents=True, exist_ok=True)
            if self.format.holds:
                write(record, self.store)
            else:
                self._put_in_place(record, write)
        except OSError as error:
            problem = f"{self.path} can't be written: {error.strerror or error}."
            raise UserError(problem, "Free some space, or choose another folder.") from None
        then = self.format.then.format(store=shlex.quote(str(self.store)), place=shlex.quote(str(self.path)))
        return Exported(self.run.id, self.name, self.path, then)

    def _put_in_place(self, record: Record, write: Callable[[Record, Path], None]) -> None:
        """Write beside the place, and move there what is whole."""
        staged = self.store / f".{self.path.name}.{os.getpid()}{atomic.TEMPORARY}"
        try:
            if not self.format.suffix:
                staged.mkdir()
            write(record, staged)
            _remove(self.path)
            staged.rename(self.path)
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
