"""`dipddpm restore`: every method on the same degraded images, at matched cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from dipddpm.core import config as configs
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.command import command, option
from dipddpm.tui.cli.options import NewRun, prior_name, run_argument, run_folder_path
from dipddpm.tui.cli.run import start


@dataclass(frozen=True, kw_only=True)
class RestoreOptions(NewRun):
    """The options of `dipddpm restore`."""

    run: Annotated[str | None, run_argument("[RUN]", "The run whose model is the prior; else the one that ships.")] = (
        None
    )
    prior: str | None = option(None, "The same, as an option.", "--from", metavar="RUN", complete=complete.runs)
    task: list[str] | None = option(
        None,
        "A degradation, as denoise:sigma=25; may be repeated.",
        key="restore.tasks",
        metavar="SPEC",
        complete=complete.tasks,
    )
    of: list[str] | None = option(
        None,
        "fashionmnist, fashion-mini, glyphs, patches or leaves; may be repeated.",
        "--set-of-images",
        key="restore.sets",
        metavar="NAME",
        complete=complete.sets,
    )
    method: list[str] | None = option(
        None,
        "A hybrid to compare; may be repeated, else all.",
        "--method",
        "--methods",
        key="restore.methods",
        metavar="NAME",
        complete=complete.methods,
    )
    conditioned: list[str] | None = option(
        None,
        "A run of hybrid conditioned: its network restores the task it was trained for; may be repeated.",
        metavar="RUN",
        complete=complete.runs,
    )
    images: int | None = option(None, "Images of each set.", key="restore.images", metavar="N")
    seeds: int | None = option(None, "Times that each image is degraded anew.", key="restore.seeds", metavar="S")
    iterations: int | None = option(None, "DIP's steps on each image, at most.", key="dip.iterations")
    preset: str | None = option(None, "A named set of options; quick takes a few minutes.", complete=complete.presets)
    group: str | None = field(default=None, init=False)

    def named_settings(self) -> dict[str, Any]:
        """Add the runs, by their folders."""
        prior = self.run or self.prior
        conditioned = [run_folder_path(run, self.runs_dir) for run in self.conditioned or ()]
        return {
            **super().named_settings(),
            "prior.run": prior and prior_name(prior, self.runs_dir),
            "restore.conditioned": conditioned or None,
        }


@command(RestoreOptions)
def restore(options: RestoreOptions) -> int:
    """Restore the same degraded images with every method: hybrids, both their parents at equal time, and controls.

    The scores come as they are made, and the table at the end; dipddpm show tells it again. Seconds compare only
    where nothing else keeps the device busy. Processes of --gpus take one degraded set each, with all its methods.
    """
    return start(configs.build("restore", preset=options.preset, settings=options.config_settings()), options)
