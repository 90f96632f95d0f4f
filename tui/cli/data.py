"""`dipddpm data`: list the data sets, and fetch the missing ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dipddpm.core import data as datasets
from dipddpm.core.data.catalogue import find
from dipddpm.core.data.locate import refuse_other_than_folder
from dipddpm.core.io.sanitize import printable
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.help import DATA, HelpCommand, HelpGroup
from dipddpm.tui.cli.options import Json
from dipddpm.tui.cli.output import print_json

app = typer.Typer(cls=HelpGroup, invoke_without_command=True)


@app.callback()
def overview(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A folder to search before the usual places.", rich_help_panel=DATA),
    ] = None,
    json: Json = False,
) -> None:
    """List the data sets and their folders, or fetch a missing one.

    Examples:
        dipddpm data
        dipddpm data fetch mnist
    """
    if context.invoked_subcommand is not None:
        return
    refuse_other_than_folder(data_dir)
    records, missing = [], []
    for name, folder in datasets.locations(data_dir).items():
        known = datasets.CATALOGUE[name]
        record = {key: getattr(known, key) for key in ("name", "title", "train", "test", "shape", "licence")}
        problems = datasets.problems(name, data_dir)
        remedy = "" if folder and not problems else known.remedy
        record |= {"present": bool(folder), "where": str(folder or ""), "size": known.size, "remedy": remedy}
        records.append(record | {"problems": problems})
        if not folder:
            missing.append(known)
    if json:
        print_json(records)
        return
    for record in records:
        state = ("damaged" if record["present"] else "partial") if record["problems"] else ""
        mark = state or ("here   " if record["present"] else "missing")
        channels, height, width = record["shape"]
        images = f"{record['train']:,} + {record['test']:,}, {height}x{width} {'grey' if channels == 1 else 'RGB'}"
        print(f"{record['name']:<13} {mark} {images:<34} {record['size']:>9}  {record['where']}")
    for record in records:
        for number, problem in enumerate(record["problems"]):
            print(f"{'' if number else chr(10)}{printable(problem)}")
        if record["problems"] and record["present"] and datasets.CATALOGUE[record["name"]].torchvision:
            print(f"Fetch it again with: dipddpm data fetch {record['name']}")
    if names := [known.name for known in missing if known.torchvision]:
        print(f"\nMissing: {', '.join(names)}. Fetch a data set with: dipddpm data fetch NAME")
        print("On a machine without a network, give --data-dir a folder that was fetched on another machine.")
    for known in missing:
        if known.debian:
            print(f"Debian's package {known.debian} installs {known.name}.")
        if not known.torchvision:
            print(f"\n{known.name} is missing. {known.remedy}")


@app.command(cls=HelpCommand)
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help=f"The data set: {', '.join(datasets.CATALOGUE)}.",
            rich_help_panel=DATA,
            autocompletion=complete.datasets,
        ),
    ],
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The folder to write to.  [default: DIPDDPM_DATA, or ~/.cache/dipddpm]",
            rich_help_panel=DATA,
        ),
    ] = None,
) -> None:
    """Download a data set and verify its files.

    Examples:
        dipddpm data fetch mnist
        dipddpm data fetch cifar10 --data-dir datasets
    """
    print(f"{name} is in {fetch_with_bar(name, data_dir)}")


def fetch_with_bar(name: str, folder: Path | None = None) -> Path:
    """Fetch a data set, with a progress bar on a terminal, and return its folder. Raises UserError if it fails."""
    find(name)
    if not sys.stderr.isatty():
        print(f"Fetching {name}", file=sys.stderr)
        return datasets.fetch(name, root=folder)
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total or None)
            bar.update(tasks[what], completed=done)

        return datasets.fetch(name, root=folder, progress=show)
