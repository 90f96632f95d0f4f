"""`dipddpm restore`: every method on the same degraded images, at matched cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dipddpm.core import config as configs
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.options import NewRun, command, prior_name, run_folder_path
from dipddpm.tui.cli.run import start


@dataclass(frozen=True, kw_only=True)
class RestoreOptions(NewRun):
    """The options of `dipddpm restore`."""

    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="The run whose model is the prior; else the one that ships.",
            autocompletion=complete.runs,
        ),
    ] = None
    prior: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="The same, as an option.", autocompletion=complete.runs),
    ] = None
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="A degradation, as denoise:sigma=25; may be repeated.",
            autocompletion=complete.tasks,
        ),
    ] = None
    of: Annotated[
        list[str] | None,
        typer.Option(
            "--set-of-images",
            metavar="NAME",
            help="fashionmnist, fashion-mini, glyphs, patches or leaves; may be repeated.",
            autocompletion=complete.sets,
        ),
    ] = None
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "--methods",
            metavar="NAME",
            help="A hybrid to compare; may be repeated, else all.",
            autocompletion=complete.methods,
        ),
    ] = None
    conditioned: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="A run of hybrid conditioned: its network restores the task it was trained for; may be repeated.",
            autocompletion=complete.runs,
        ),
    ] = None
    images: Annotated[int | None, typer.Option(metavar="N", help="Images of each set.")] = None
    seeds: Annotated[int | None, typer.Option(metavar="S", help="Times that each image is degraded anew.")] = None
    iterations: Annotated[int | None, typer.Option(help="DIP's steps on each image, at most.")] = None
    preset: Annotated[
        str | None,
        typer.Option(help="A named set of options; quick takes a few minutes.", autocompletion=complete.presets),
    ] = None

    def named_settings(self) -> dict[str, Any]:
        """Add the options of this command."""
        prior = self.run or self.prior
        conditioned = tuple(run_folder_path(run, self.runs_dir) for run in self.conditioned or ())
        return {
            **super().named_settings(),
            "prior.run": prior and prior_name(prior, self.runs_dir),
            "restore.tasks": tuple(self.task or ()) or None,
            "restore.sets": tuple(self.of or ()) or None,
            "restore.methods": tuple(self.method or ()) or None,
            "restore.conditioned": conditioned or None,
            "restore.images": self.images,
            "restore.seeds": self.seeds,
            "dip.iterations": self.iterations,
        }


@command(RestoreOptions)
def restore(options: RestoreOptions) -> int:
    """Restore the same degraded images with every method: hybrids, both their parents at equal time, and controls.

    The scores come as they are made, and the table at the end; dipddpm show tells it again. Seconds compare only
    where nothing else keeps the device busy. Processes of --gpus take one degraded set each, with all its methods.
    """
    return start(configs.build("restore", preset=options.preset, settings=options.config_settings()), options)
