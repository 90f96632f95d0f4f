"""`dipddpm restore`: compare every method on the same degraded images at matched cost."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Annotated, Any

from dipddpm.core import config as configs
from dipddpm.core.config import PRESETS, TASKS
from dipddpm.core.config.study import restoring_methods
from dipddpm.core.errors import UserError
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.command import command, option, with_config_default
from dipddpm.tui.cli.help import IMAGES, METHOD, names_picture
from dipddpm.tui.cli.options import NewRun, prior_name, run_argument, run_folder_path
from dipddpm.tui.cli.run import start


@dataclass(frozen=True, kw_only=True)
class RestoreOptions(NewRun):
    """The options of `dipddpm restore`."""

    run: Annotated[
        str | None,
        run_argument("RUN", with_config_default("The run whose diffusion model is the prior.", "prior.run"), METHOD),
    ] = None
    prior: str | None = option(
        None, "The same run, given as an option.", "--from", group=METHOD, metavar="RUN", complete=complete.runs
    )
    method: list[str] | None = option(
        None,
        f"A hybrid to compare, else all of them: {', '.join(restoring_methods())}; may be repeated.",
        "--method",
        "--methods",
        group=METHOD,
        key="restore.methods",
        metavar="NAME",
        complete=complete.methods,
    )
    conditioned: list[str] | None = option(
        None,
        "A run of the hybrid `conditioned`, which joins in on the task that it was trained for; may be repeated.",
        group=METHOD,
        metavar="RUN",
        complete=complete.runs,
    )
    iterations: int | None = option(
        None, "Gradient steps of DIP on each image, at most.", group=METHOD, key="dip.iterations", metavar="N"
    )
    preset: str | None = option(
        None,
        f"Named settings in place of the defaults: {', '.join(PRESETS['restore'])}; quick takes about a minute.",
        group=METHOD,
        metavar="NAME",
        complete=complete.presets,
    )
    task: list[str] | None = option(
        None,
        f"A degradation and its options: {', '.join(TASKS)}; sigma is in 8-bit grey levels; may be repeated.",
        group=IMAGES,
        key="restore.tasks",
        metavar="SPEC",
        complete=complete.tasks,
    )
    sets: list[str] | None = option(
        None,
        f"A set of images: {', '.join(complete.sets())}; may be repeated.",
        "--set-of-images",
        group=IMAGES,
        key="restore.sets",
        metavar="NAME",
        complete=complete.sets,
    )
    images: int | None = option(None, "Images of each set.", group=IMAGES, key="restore.images", metavar="N")
    seeds: int | None = option(
        None,
        "How often each image is degraded, with new noise each time.",
        group=IMAGES,
        key="restore.seeds",
        metavar="N",
    )
    group: str | None = field(default=None, init=False)

    def named_settings(self) -> dict[str, Any]:
        """Add the folders of the runs that this command names."""
        prior = self.run or self.prior
        if self.run and names_picture(self.run):
            problem = f"restore compares methods on images that it damages itself, and takes no picture: {self.run}."
            raise UserError(problem, f"To restore a picture, write: dipddpm restore-image {shlex.quote(self.run)}")
        conditioned = [run_folder_path(run, self.runs_dir) for run in self.conditioned or ()]
        return {
            **super().named_settings(),
            "prior.run": prior and prior_name(prior, self.runs_dir),
            "restore.conditioned": conditioned or None,
        }


@command(RestoreOptions)
def restore(options: RestoreOptions) -> int:
    """Restore the same degraded images with every method and compare.

    Examples:
        dipddpm restore --preset quick
        dipddpm restore last --task inpaint:missing=0.7,sigma=5 --images 10
        dipddpm restore --method calibrated --images 50 --seeds 3 --detach

    The methods are the hybrids, their baselines DIP and DDPM, which get as much time as the hybrid, and controls. Each
    score is printed when it is known, and at the end a table of the hybrids and their baselines; dipddpm show prints
    every method with its costs. Times are comparable only if nothing else uses the device. With --gpus, each process
    restores whole sets of images.
    """
    return start(configs.build("restore", preset=options.preset, settings=options.config_settings()), options)
