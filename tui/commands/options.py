"""Options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from core.launch import runs_root
from core.runs import CONFIG_FILE, Run, RunsFolder, reference

RunsDir: TypeAlias = Annotated[
    Path | None,
    typer.Option("--runs-dir", metavar="FOLDER", help="Where runs are kept (else DIPDDPM_RUNS, else ./runs)."),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
RunArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help="An id, a unique prefix of one, last, or reference.")
]


def find_run(wanted: str, runs_dir: Path | None) -> Run:
    """The run meant. Raises UserError for none or several."""
    return RunsFolder(runs_root(runs_dir)).find(wanted)


def prior_of(wanted: str, runs_dir: Path | None) -> str:
    """What a config calls the run meant: its folder, wherever that lies, or the word for the prior that ships.

    A run of the runs folder, or the path of a run's folder elsewhere. Raises UserError for none or several.
    """
    elsewhere = Path(wanted).expanduser()
    if wanted == reference.NAME:
        return wanted
    found = elsewhere if (elsewhere / CONFIG_FILE).is_file() else find_run(wanted, runs_dir).folder
    return reference.NAME if found.absolute() == reference.FOLDER / reference.PRIOR else str(found.absolute())
