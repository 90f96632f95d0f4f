"""`dipddpm restore`: compare every method on the same degraded images at matched cost."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Annotated, Any

from dipddpm.core import config as configs
from dipddpm.core.config import PRESETS, TASKS, AnyRun
from dipddpm.core.config.study import restoring_methods
from dipddpm.core.errors import UserError
from dipddpm.core.launch.local import runs_root
from dipddpm.core.runs import Run, RunsFolder, RunState, slices
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.command import command, option, with_config_default
from dipddpm.tui.cli.help import IMAGES, METHOD, names_picture
from dipddpm.tui.cli.options import NewRun, find_run, prior_name, run_argument, run_folder_path
from dipddpm.tui.cli.run import start
from dipddpm.tui.shared.draft import Draft

FREE_OPTIONS = ("name", "device", "processes", "threads", "data.directory", "checkpoint_seconds", "checkpoint_epochs")
"""The options of a run that don't affect its results."""


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
        "A hybrid to compare, else all that aren't experimental: "
        f"{', '.join(restoring_methods(experimental=False))}; may be repeated.",
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
        f"Named settings in place of the defaults: {', '.join(PRESETS['restore'])}; quick takes a minute or two.",
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
    add_images: str | None = option(
        None,
        "Add these images of each set, such as 12-23, to the board of a finished head-to-head.",
        "--add-images",
        group=IMAGES,
        metavar="FIRST-LAST",
    )
    to: str | None = option(
        None,
        "The head-to-head that images are added to.  [default: the newest finished one]",
        "--to",
        group=IMAGES,
        metavar="RUN",
        complete=complete.runs,
    )
    group: str | None = field(default=None, init=False)

    def config(self) -> AnyRun:
        """Return the complete config. Raises UserError if an option is wrong."""
        given = self.config_settings()
        if self.add_images is None:
            if self.to is not None:
                problem = "--to names the head-to-head that images are added to, and no images are named."
                raise UserError(problem, "Name them, such as --add-images 12-23, or leave out --to.")
            return configs.build("restore", preset=self.preset, settings=given)
        if other := [*(key for key in given if key not in FREE_OPTIONS), *["preset"] * bool(self.preset)]:
            problem = f"Added images are restored with the options of the others; given: {', '.join(other)}."
            raise UserError(problem, "Leave them out.")
        draft = Draft.from_config(slices.with_images(self._earlier_run(), self.add_images))
        draft.set_values({key: str(value) for key, value in given.items()})
        return draft.config()

    def _earlier_run(self) -> Run:
        """Return the head-to-head that images are added to. Raises UserError if there is none."""
        if self.to is not None:
            return find_run(self.to, self.runs_dir)
        for run in RunsFolder(runs_root(self.runs_dir)).runs():
            status = run.status()
            if status.summary.kind == "restore" and status.state is RunState.finished and not run.reference:
                return run
        raise UserError("There is no finished head-to-head to add images to.", "Start one with dipddpm restore.")

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
        dipddpm restore --add-images 12-23

    The methods are the hybrids, their baselines DIP and DDPM, which get as much time as the hybrid, and controls. Each
    score is printed when it is known, and at the end a table of the hybrids and their baselines; dipddpm show prints
    every method with its costs. Times are comparable only if nothing else uses the device. With --gpus, each process
    restores whole sets of images.

    With --add-images a board grows: a new run restores the further images with the options of an earlier one, and its
    board holds the images of both.
    """
    return start(options.config(), options)
