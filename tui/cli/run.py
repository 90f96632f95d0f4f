"""`dipddpm run`, `fork` and `reproduce`: build a config from the options and start a worker for it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from dipddpm.core import config as configs
from dipddpm.core.config import HYBRIDS, PRESETS, TASKS, AnyRun, HybridRun
from dipddpm.core.data.catalogue import CATALOGUE
from dipddpm.core.errors import UserError
from dipddpm.core.export.mirror import refuse_mirror, request_mirror
from dipddpm.core.launch import local, preflight, results, submit
from dipddpm.core.launch.defaults import limit_images
from dipddpm.core.runs import RunsFolder
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.command import command, option
from dipddpm.tui.cli.data import fetch_with_bar
from dipddpm.tui.cli.follow import follow
from dipddpm.tui.cli.help import IMAGES, METHOD
from dipddpm.tui.cli.options import Mirror, NewRun, RunArgument, find_run, prior_name
from dipddpm.tui.shared.draft import Draft, epochs_train_prior

BOARDS = {
    "acceleration": "compares starts",
    "map": "compares priors",
}
"""The kinds of run that restore sets of images of their own, with what they do in words."""
_PRESETS = "; ".join(f"{kind}: {', '.join(PRESETS[kind])}" for kind in complete.KINDS)


@dataclass(frozen=True, kw_only=True)
class RunOptions(NewRun):
    """The options of `dipddpm run`."""

    kind: Annotated[
        str,
        typer.Argument(
            metavar="dip|ddpm|hybrid|acceleration|map",
            help="dip fits an untrained network to each image; ddpm trains a diffusion model; hybrid combines the two; "
            "acceleration measures which start makes a diffusion sampler reach its quality soonest; map measures with "
            "which prior, measurement and domain a hybrid is better than DIP and diffusion alone.",
            rich_help_panel=METHOD,
            autocompletion=complete.kinds,
        ),
    ]
    method: str | None = option(
        None,
        f"The hybrid method: {', '.join(HYBRIDS)}.",
        group=METHOD,
        config_default="hybrid.method",
        metavar="NAME",
        complete=complete.methods,
    )
    prior: str | None = option(
        None,
        "The run whose diffusion model a hybrid takes as its prior; `reference` (28x28 grey) and `leaves` (any size "
        "and colour) ship with the program.",
        "--from",
        group=METHOD,
        config_default="prior.run",
        metavar="RUN",
        complete=complete.runs,
    )
    epochs: int | None = option(
        None,
        "Passes over the training images (ddpm; a hybrid then trains its own prior).",
        group=METHOD,
        key="ddpm.epochs",
        metavar="N",
    )
    iterations: int | None = option(
        None, "Gradient steps of DIP on each image, at most.", group=METHOD, key="dip.iterations", metavar="N"
    )
    preset: str | None = option(
        None,
        f"Named settings in place of the defaults ({_PRESETS}); quick takes a minute or two.",
        group=METHOD,
        metavar="NAME",
        complete=complete.presets,
    )
    dataset: str | None = option(
        None,
        f"The data set: {', '.join(CATALOGUE)}, or folder:PATH for images of your own.",
        group=IMAGES,
        config_default="data.dataset",
        metavar="NAME",
        complete=complete.datasets,
    )
    images: str | None = option(
        None,
        "The test images to restore: the first N, or indices such as 3,17 or 0-9; by default fewer if there are fewer.",
        group=IMAGES,
        config_default="images.indices",
        metavar="N|LIST",
    )
    image: list[Path] | None = option(None, "An image file to restore; may be repeated.", group=IMAGES, metavar="FILE")
    given: list[Path] | None = option(
        None,
        "A damaged image file, or a folder of them, to restore as it is: nothing is added; may be repeated.",
        group=IMAGES,
        metavar="FILE|FOLDER",
    )
    truth: list[Path] | None = option(
        None,
        "The true image of a given one, if it is known, to measure the result; may be repeated in the same order.",
        group=IMAGES,
        metavar="FILE",
    )
    mask: Path | None = option(
        None,
        "The missing pixels, black in a mask file of the image's size; short for --task inpaint:mask=FILE.",
        group=IMAGES,
        metavar="FILE",
    )
    task: str | None = option(
        None,
        f"The degradation and its options: {', '.join(TASKS)}; sigma is in 8-bit grey levels.",
        group=IMAGES,
        config_default="task",
        metavar="SPEC",
        complete=complete.tasks,
    )
    mirror: Mirror = None

    def config(self) -> AnyRun:
        """Return the complete config. Raises UserError if an option is wrong."""
        given = self.config_settings()
        results.refuse_other_mask(self.task, None if self.mask is None else str(self.mask))
        task = self.task or ("inpaint" if self.mask else None)
        if self.kind in BOARDS:
            return configs.build(self.kind, preset=self.preset, settings=given)
        config = configs.build(self.kind, method=self.method, preset=self.preset, task=task, settings=given)
        _refuse_unused(config, self.prior, self.epochs)
        return limit_images(config, given)

    def named_settings(self) -> dict[str, Any]:
        """Add the options of this command. Raises UserError for an option that this kind of run doesn't take."""
        self._refuse_other_kinds()
        if self.kind in BOARDS:
            return {**super().named_settings(), **self._board_settings()}
        if self.processes is not None and self.kind == "hybrid":
            problem = "A hybrid runs in one process: DIP and DDPM are its baselines in the same time."
            raise UserError(problem, "Leave out --gpus; only run ddpm, run dip and restore take it.")
        return {
            **super().named_settings(),
            "prior.run": self._prior_run(),
            "data.dataset": self.dataset,
            "images.indices": self.images and _index_range(self.images),
            "images.files": tuple(map(str, self.image or ())) or None,
            "images.given": self._given(),
            "images.truth": tuple(map(str, self.truth or ())) or None,
            "task.mask": self.mask and str(self.mask),
        }

    def _board_settings(self) -> dict[str, Any]:
        """Return the settings of a run that restores sets of images of its own.

        Raises UserError for an option that it doesn't take, and for images that aren't the first ones.
        """
        unused = ("method", "epochs", "dataset", "image", "given", "truth", "mask")
        for name in unused:
            if getattr(self, name) is not None:
                problem = f"{self.kind} {BOARDS[self.kind]} on its own sets of images and takes no --{name}."
                raise UserError(problem, "Leave it out; choose sets with --set restore.sets=..., tasks with --task.")
        if self.images is not None and not self.images.isdecimal():
            raise UserError(f"{self.kind} takes the first images of each set.", "Give their number: --images 20.")
        return {
            "prior.run": None if self.prior is None else prior_name(self.prior, self.runs_dir),
            "restore.tasks": self.task and (self.task,),
            "restore.images": self.images and int(self.images),
        }

    def _refuse_other_kinds(self) -> None:
        """Raise UserError for an option of another kind of run."""
        if self.kind == "dip" and self.epochs is not None:
            problem = "dip fits a network to each image and takes no --epochs."
            raise UserError(problem, f"Give --iterations {self.epochs} instead.")
        if self.kind == "ddpm" and self.iterations is not None:
            raise UserError("ddpm trains in passes over the data and takes no --iterations.", "Give --epochs instead.")
        if self.kind == "ddpm" and self.images is not None:
            problem = "ddpm trains on all images and takes no --images."
            raise UserError(problem, "Limit the training images with --set data.train_images=N.")

    def _given(self) -> tuple[str, ...] | None:
        """Return the given files, those of folders included. Raises UserError for a folder without pictures."""
        from dipddpm.core.data.given import expand_given  # it loads numpy and Pillow

        return expand_given(list(map(str, self.given))) if self.given else None

    def _prior_run(self) -> str | None:
        """Return the folder of the run that holds the prior, "" for a prior to train, None for the config's default."""
        method = self.method or PRESETS["hybrid"].get(self.preset or "", {}).get("hybrid.method", "")
        trains_prior = self.epochs is not None and epochs_train_prior(method)
        if self.prior is None:
            return "" if self.kind == "hybrid" and trains_prior else None  # --epochs asks for a training
        if self.kind != "hybrid":
            raise UserError(f"{self.kind} takes no trained prior.", "Leave out --from, or run hybrid.")
        if trains_prior:
            problem = "--epochs trains a prior, and --from takes a trained one."
            raise UserError(problem, "Leave out one of the two.")
        return prior_name(self.prior, self.runs_dir)


@command(RunOptions)
def run(options: RunOptions) -> int:
    """Train a diffusion model, fit DIP, or restore with a hybrid.

    Examples:
        dipddpm run hybrid --preset quick
        dipddpm run dip --images 10 --task denoise:sigma=25
        dipddpm run ddpm --preset cpu --epochs 20 --detach

    A process of its own does the work, and this command follows it. Ctrl-C asks the run to stop after the current step
    and to write a checkpoint; dipddpm resume continues it.
    """
    return start(options.config(), options, options.mirror)


@dataclass(frozen=True, kw_only=True)
class ForkOptions(NewRun):
    """The options of `dipddpm fork`."""

    run: RunArgument
    data_dir: Path | None = field(default=None, init=False)
    processes: int | None = field(default=None, init=False)


@command(ForkOptions, config_defaults=False)
def fork(options: ForkOptions) -> int:
    """Start a new run from the config of another one.

    Examples:
        dipddpm fork last --set dip.lr=0.02
        dipddpm fork last --seed 7 --name "another seed"

    Every option given here replaces the value of the other run. The new run starts from step 0; dipddpm resume
    continues the old one.
    """
    draft = Draft.fork(find_run(options.run, options.runs_dir).config())
    draft.set_values({key: str(value) for key, value in options.config_settings().items()})
    config = limit_images(draft.config(), draft.typed)
    if not options.dry_run:
        results.refuse_existing(config)
    return start(config, options)


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(NewRun):
    """The options of `dipddpm reproduce`."""

    quick: bool = option(
        False, "Use fewer images and epochs than published; takes minutes on a CPU.", "--quick", group=METHOD
    )
    full: bool | None = option(
        None, "Also train the hybrid for 100 epochs, as published.", "--full", group=METHOD, key="study.full"
    )
    processes: int | None = field(default=None, init=False)
    group: str | None = field(default=None, init=False)
    on: str | None = field(default=None, init=False)
    now: bool = field(default=False, init=False)


@command(ReproduceOptions)
def reproduce(options: ReproduceOptions) -> int:
    """Reproduce the published study, number by number.

    Examples:
        dipddpm reproduce --quick
        dipddpm reproduce --full --detach

    The report, report.html and report.md in the run's folder, has each number with the published one. The study also
    measures why the published hybrid failed and which hybrids help. Each stage is a run of its own; a stage that an
    earlier run has finished on the same data is not repeated. Without --quick it takes hours on a CPU.
    """
    if options.quick and options.full:
        raise UserError("--quick and --full exclude each other.", "Leave out one of the two.")
    given = options.config_settings()
    config = configs.build("study", preset="quick" if options.quick else None, settings=given)
    return start(limit_images(config, given), options)


def start(config: AnyRun, options: NewRun, mirror: str | None = None) -> int:
    """Make the run's folder, start its worker and, unless detached, follow it; return the exit code.

    A dry run only prints the config.
    """
    if mirror is not None:
        refuse_mirror(mirror)
    if options.dry_run:
        print(configs.to_toml(config), end="")
        return 0
    on = prepare(options, [config])
    run = RunsFolder(local.runs_root(options.runs_dir)).create(config)
    if mirror is not None:
        print(f"Next: {mirror} --logdir {shlex.quote(str(request_mirror(run, mirror)))}", file=sys.stderr)
    local.start(run, now=options.now, on=on)
    if options.detach:
        print(run.id)
        return 0
    if not options.json:
        print(f"Run {run.id} in {run.folder}", file=sys.stderr)
    return follow(run, as_json=options.json, stop_on_interrupt=True)


def prepare(options: NewRun, planned: Sequence[AnyRun], *, fetch: bool = True) -> str:
    """Check the planned runs, fetch their data, and return the cluster that will do them, "" for this machine.

    Raises UserError for a run that would fail, before anything is fetched.
    """
    on = "" if options.on in {None, submit.HERE} else str(options.on)
    if on:
        submit.refuse(on, planned[0])
    missing = {name for config in planned if (name := preflight.missing_data(config))}
    for config in planned:
        preflight.refuse(config, fetching=bool(missing), elsewhere=bool(on))
    for name in sorted(missing) if fetch else ():
        fetch_with_bar(name)
    return on


def _refuse_unused(config: AnyRun, prior: str | None, epochs: int | None) -> None:
    """Raise UserError for a prior, or epochs to train one, with a method that takes no prior."""
    if not isinstance(config, HybridRun) or config.hybrid.learns:
        return
    if epochs is not None and not config.hybrid.needs_prior:
        problem = f"{config.method} fits a network to each image and takes no --epochs."
        raise UserError(problem, f"Give --iterations {epochs} instead.")
    if prior is not None and (config.trains or not config.hybrid.needs_prior):
        raise UserError(f"{config.method} takes no trained prior.", "Leave out --from, or choose another --method.")


def _index_range(images: str) -> str:
    """Return the indices of the first N images for a plain number N; any other text is a list of indices already."""
    if not images.isdecimal():
        return images
    if int(images) < 1:
        raise UserError("--images 0 leaves no image to restore.", "Give 1 or more.")
    return f"0-{int(images) - 1}"
