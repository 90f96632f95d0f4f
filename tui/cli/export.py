"""`dipddpm export`: runs as files for other programs and other people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dipddpm.core.export import FORMATS, refuse
from dipddpm.core.export import export as write
from dipddpm.core.io.sanitize import printable
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.options import Json, RunsDir, find_runs, run_argument
from dipddpm.tui.cli.output import print_json

_LIST = "; ".join(f"{name}: {each.words}" for name, each in FORMATS.items())


def export(
    runs: Annotated[list[str], run_argument("RUN...", "Ids, prefixes, groups, last or reference.")],
    *,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to", metavar="FORMAT", help=f"May be repeated (else files). {_LIST}.", autocompletion=complete.formats
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where to: a run gets to FOLDER/FORMAT/RUN.")
    ] = Path("exports"),
    force: Annotated[bool, typer.Option("--force", help="Replace what is there already.")] = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Export runs: tables, figures, a report, the model, or what TensorBoard, W&B and MLflow read.

    What a resumed run did again is told once. A run that goes on is told as far as it is. Nothing leaves this machine.
    """
    formats = [name for names in to or ["files"] for name in names.split(",")]
    refuse(formats)
    exports = write(find_runs(runs, runs_dir), formats, out.expanduser(), replace=force)
    if json:
        print_json([asdict(exported) | {"path": str(exported.path)} for exported in exports])
        return
    for exported in exports:
        print(printable(str(exported.path)))
    for then in dict.fromkeys(filter(None, (exported.then for exported in exports))):
        print(f"Next: {printable(then)}")
