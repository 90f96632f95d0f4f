"""`dipddpm data`: what is here, and fetching what is not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dipddpm.core import data as datasets
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.options import Json
from dipddpm.tui.cli.output import print_json

app = typer.Typer(help="Data sets: what is here, and fetching what is not.", invoke_without_command=True)


@app.callback()
def overview(
    context: typer.Context,
    data_dir: Annotated[Path | None, typer.Option(help="A folder to look in first.")] = None,
    json: Json = False,
) -> None:
    """List the data sets, where each lies, and how to get the others."""
    if context.invoked_subcommand is not None:
        return
    records = []
    for name, folder in datasets.locations(data_dir).items():
        known = datasets.CATALOGUE[name]
        record = {key: getattr(known, key) for key in ("name", "title", "train", "test", "shape", "licence")}
        remedy = "" if folder else known.remedy
        record |= {"present": bool(folder), "where": str(folder or ""), "size": known.size, "remedy": remedy}
        records.append(record)
    if json:
        print_json(records)
        return
    for record in records:
        mark = "here   " if record["present"] else "missing"
        channels, height, width = record["shape"]
        images = f"{record['train']:,} + {record['test']:,}, {height}x{width} {'grey' if channels == 1 else 'RGB'}"
        print(f"{record['name']:<13} {mark} {images:<34} {record['size']:>9}  {record['where']}")
    for record in records:
        if record["remedy"]:
            print(f"\n{record['name']}: {record['remedy']}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Which data set.", autocompletion=complete.datasets)],
    data_dir: Annotated[Path | None, typer.Option(help="Where to put it (else the cache).")] = None,
) -> None:
    """Download a data set, check it by its contents, and keep it."""
    print(f"{name} is in {fetch_with_bar(name, data_dir)}")


def fetch_with_bar(name: str, folder: Path | None = None) -> Path:
    """Fetch a data set, with a progress bar on a terminal; the folder that holds it."""
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
