"""`dipddpm restore`: every method on the same degraded images, at matched cost."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dipddpm.core import config as configs
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.options import (
    DataDir,
    Detach,
    Device,
    DryRun,
    Json,
    Name,
    Now,
    On,
    Processes,
    RunsDir,
    Seed,
    Settings,
    config_settings,
    prior_name,
    run_folder_path,
)
from dipddpm.tui.cli.run import start


def restore(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="The run whose model is the prior; else the one that ships.",
            autocompletion=complete.runs,
        ),
    ] = None,
    *,
    prior: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="The same, as an option.", autocompletion=complete.runs),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="A degradation, as denoise:sigma=25; may be repeated.",
            autocompletion=complete.tasks,
        ),
    ] = None,
    of: Annotated[
        list[str] | None,
        typer.Option(
            "--set-of-images",
            metavar="NAME",
            help="fashionmnist, fashion-mini, glyphs, patches or leaves; may be repeated.",
            autocompletion=complete.sets,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "--methods",
            metavar="NAME",
            help="A hybrid to compare; may be repeated, else all.",
            autocompletion=complete.methods,
        ),
    ] = None,
    conditioned: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="A run of hybrid conditioned: its network restores the task it was trained for; may be repeated.",
            autocompletion=complete.runs,
        ),
    ] = None,
    images: Annotated[int | None, typer.Option(metavar="N", help="Images of each set.")] = None,
    seeds: Annotated[int | None, typer.Option(metavar="S", help="Times that each image is degraded anew.")] = None,
    iterations: Annotated[int | None, typer.Option(help="DIP's steps on each image, at most.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A named set of options; quick takes a few minutes.", autocompletion=complete.presets),
    ] = None,
    data_dir: DataDir = None,
    settings: Settings = None,
    device: Device = None,
    gpus: Processes = None,
    seed: Seed = None,
    name: Name = None,
    on: On = None,
    detach: Detach = False,
    now: Now = False,
    dry_run: DryRun = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> int:
    """Restore the same degraded images with every method: hybrids, both their parents at equal time, and controls.

    The scores come as they are made, and the table at the end; dipddpm show tells it again. Seconds compare only
    where nothing else keeps the device busy. Processes of --gpus take one degraded set each, with all its methods.
    """
    prior_run = run or prior
    options: dict[str, Any] = {
        "prior.run": prior_run and prior_name(prior_run, runs_dir),
        "restore.tasks": task and tuple(task),
        "restore.sets": of and tuple(of),
        "restore.methods": method and tuple(method),
        "restore.conditioned": conditioned and tuple(run_folder_path(run, runs_dir) for run in conditioned),
        "restore.images": images,
        "restore.seeds": seeds,
        "dip.iterations": iterations,
        "device": device,
        "processes": gpus,
        "seed": seed,
        "name": name,
    }
    config = configs.build("restore", preset=preset, settings=config_settings(options, data_dir, settings))
    return start(config, runs_dir, on=on, dry_run=dry_run, detach=detach, now=now, as_json=json)
