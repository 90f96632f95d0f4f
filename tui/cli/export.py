"""`dipddpm export`: write runs as files for other programs and other people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dipddpm.core.export import FORMATS, refuse
from dipddpm.core.export import export as write
from dipddpm.core.io import home
from dipddpm.core.io.sanitize import printable
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.help import OUTPUT
from dipddpm.tui.cli.options import Json, RunsDir, find_runs, run_argument
from dipddpm.tui.cli.output import print_json

_FORMATS = "; ".join(f"{name}: {each.words}" for name, each in FORMATS.items())


def export(
    runs: Annotated[
        list[str], run_argument("RUN", "Run ids, unique prefixes of ids, `last`, `reference`, or names of groups.")
    ],
    *,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help=f"The format; may be repeated. {_FORMATS}.  [default: files]",
            rich_help_panel=OUTPUT,
            autocompletion=complete.formats,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="The folder to write to; the files of a run go to FOLDER/FORMAT/RUN.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("exports"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace files of an earlier export.", rich_help_panel=OUTPUT)
    ] = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Write runs as tables, figures, reports or models.

    Examples:
        dipddpm export last
        dipddpm export last --to figures,html --out paper
        dipddpm export night --to csv --force

    Steps that a resumed run repeated are written once. A live run is exported up to its latest event. Nothing is
    uploaded.
    """
    formats = [name for names in to or ["files"] for name in names.split(",")]
    refuse(formats)
    exports = write(find_runs(runs, runs_dir), formats, home.expand(out), replace=force)
    if json:
        print_json([asdict(exported) | {"path": str(exported.path)} for exported in exports])
        return
    for exported in exports:
        print(printable(str(exported.path)))
    for then in dict.fromkeys(filter(None, (exported.then for exported in exports))):
        print(f"Next: {printable(then)}")
