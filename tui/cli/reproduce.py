"""`dipddpm reproduce`: the published study end to end, and its report."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.tui.cli.options import (
    DataDir,
    Detach,
    Device,
    DryRun,
    Json,
    Name,
    RunsDir,
    Seed,
    Settings,
    config_settings,
)
from dipddpm.tui.cli.run import start


def reproduce(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Minutes on a CPU: fewer images and epochs than were published.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Take the hybrid on to 100 epochs too.")] = False,
    data_dir: DataDir = None,
    settings: Settings = None,
    device: Device = None,
    seed: Seed = None,
    name: Name = None,
    detach: Detach = False,
    dry_run: DryRun = False,
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
        "device": device,
        "seed": seed,
        "name": name,
    }
    config = configs.build(
        "study", preset="quick" if quick else None, settings=config_settings(options, data_dir, settings)
    )
    return start(config, runs_dir, dry_run=dry_run, detach=detach, now=False, as_json=json)
