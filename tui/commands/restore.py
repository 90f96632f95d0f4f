"""`dipddpm restore`: every method on the same degraded images, at matched cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from core import config as configs
from tui.commands.options import Json, RunsDir, prior_of
from tui.commands.run import pairs, start


def restore(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="The run whose model is the prior; else the one that ships.")
    ] = None,
    *,
    prior: Annotated[str | None, typer.Option("--from", metavar="RUN", help="The same, as an option.")] = None,
    task: Annotated[
        list[str] | None, typer.Option(metavar="SPEC", help="A degradation, as denoise:sigma=25; may be repeated.")
    ] = None,
    of: Annotated[
        list[str] | None,
        typer.Option(
            "--set-of-images",
            metavar="NAME",
            help="fashionmnist, fashion-mini, glyphs, patches or leaves; may be repeated.",
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "--methods", metavar="NAME", help="A hybrid to compare; may be repeated, else all."),
    ] = None,
    images: Annotated[int | None, typer.Option(metavar="N", help="Images of each set.")] = None,
    seeds: Annotated[int | None, typer.Option(metavar="S", help="Times that each image is degraded anew.")] = None,
    iterations: Annotated[int | None, typer.Option(help="DIP's steps on each image, at most.")] = None,
    preset: Annotated[str | None, typer.Option(help="A named set of options; quick takes a few minutes.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="A folder to look for the data in first.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any option by its key, as dip.channels=16.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the run.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on by itself.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Don't wait for a free slot on the device.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the complete config and do nothing.")] = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> int:
    """Restore the same degraded images with every method: hybrids, both their parents at equal time, and controls.

    The scores come as they are made, and the table at the end; dipddpm show tells it again. Seconds compare only
    where nothing else keeps the device busy.
    """
    named = run or prior
    options: dict[str, Any] = {
        "prior.run": named and prior_of(named, runs_dir),
        "restore.tasks": task and tuple(task),
        "restore.sets": of and tuple(of),
        "restore.methods": method and tuple(method),
        "restore.images": images,
        "restore.seeds": seeds,
        "dip.iterations": iterations,
        "data.directory": data_dir and str(data_dir.expanduser().absolute()),
        "device": device,
        "seed": seed,
        "name": name,
    }
    given = {key: value for key, value in options.items() if value is not None}
    config = configs.build("restore", preset=preset, settings=pairs(settings) | given)
    if dry_run:
        print(configs.to_toml(config), end="")
        return 0
    return start(config, runs_dir, detach=detach, now=now, as_json=json)
