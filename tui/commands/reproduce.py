"""`dipddpm reproduce`: the published study end to end, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from core import config as configs
from core.errors import UserError
from tui.commands.options import Json, RunsDir
from tui.commands.run import pairs, start


def reproduce(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Minutes on a CPU: fewer images and epochs than were published.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Take the hybrid on to 100 epochs too.")] = False,
    data_dir: Annotated[Path | None, typer.Option(help="A folder to look for the data in first.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any option by its key, as study.epochs=5.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the study.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the study goes on by itself.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the complete config and do nothing.")] = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> int:
    """Reproduce the published study, number by number, and show why its hybrid failed and which ones don't.

    Each stage is a run of its own; those that the history has already are not made again. The report is report.html,
    and report.md, in the study's folder.
    """
    if quick and full:
        raise UserError("--quick and --full exclude each other.", "Leave one of them out.")
    options: dict[str, Any] = {
        "study.full": full or None,
        "data.directory": data_dir and str(data_dir.expanduser().absolute()),
        "device": device,
        "seed": seed,
        "name": name,
    }
    given = {key: value for key, value in options.items() if value is not None}
    config = configs.build("study", preset="quick" if quick else None, settings=pairs(settings) | given)
    if dry_run:
        print(configs.to_toml(config), end="")
        return 0
    return start(config, runs_dir, detach=detach, now=False, as_json=json)
