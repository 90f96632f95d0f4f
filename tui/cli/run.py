"""`dipddpm run`, `fork` and `reproduce`: from options to a config, from a config to a worker."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from dipddpm.core import config as configs
from dipddpm.core.config import PRESETS, AnyRun, HybridRun
from dipddpm.core.errors import UserError
from dipddpm.core.export.mirror import refuse_mirror, request_mirror
from dipddpm.core.launch import local, preflight, submit
from dipddpm.core.runs import RunsFolder
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.command import command, option
from dipddpm.tui.cli.data import fetch_with_bar
from dipddpm.tui.cli.follow import follow
from dipddpm.tui.cli.options import Mirror, NewRun, RunArgument, find_run, prior_name
from dipddpm.tui.shared.draft import Draft, epochs_train_prior


@dataclass(frozen=True, kw_only=True)
class RunOptions(NewRun):
    """The options of `dipddpm run`."""

    kind: Annotated[
        str,
        typer.Argument(
            metavar="dip|ddpm|hybrid",
            help="dip fits an untrained network to each image; ddpm trains a diffusion model; hybrid combines them.",
            autocompletion=complete.kinds,
        ),
    ]
    epochs: int | None = option(None, "Passes over the training images (ddpm, hybrid).", key="ddpm.epochs")
    iterations: int | None = option(None, "Steps on each image (dip).", key="dip.iterations")
    method: str | None = option(None, "How the two are combined (hybrid).", complete=complete.methods)
    prior: str | None = option(
        None,
        "The run whose model is the prior, or reference (hybrid).",
        "--from",
        metavar="RUN",
        complete=complete.runs,
    )
    dataset: str | None = option(
        None, "fashionmnist, fashion-mini, mnist, kmnist, cifar10 or folder:PATH.", complete=complete.datasets
    )
    images: str | None = option(None, "Images to restore: the first N, or places as 3,17 or 0-9.", metavar="N|LIST")
    image: list[Path] | None = option(None, "An image file to restore; may be repeated.", metavar="FILE")
    task: str | None = option(None, "The degradation, as denoise:sigma=25.", metavar="SPEC", complete=complete.tasks)
    preset: str | None = option(None, "A named set of options; quick takes a minute or two.", complete=complete.presets)
    mirror: Mirror = None

    def config(self) -> AnyRun:
        """The complete config. Raises UserError for what is wrong with it."""
        config = configs.build(
            self.kind, method=self.method, preset=self.preset, task=self.task, settings=self.config_settings()
        )
        _refuse_unused(config, self.prior, self.epochs)
        return config

    def named_settings(self) -> dict[str, Any]:
        """Add the options of this command. Raises UserError for an option that the kind has no use for."""
        self._refuse_other_kinds()
        if self.processes is not None and self.kind == "hybrid":
            problem = "A hybrid restores its images together, in a time that its parents are given as well."
            raise UserError(problem, "Leave --gpus out; run ddpm, run dip and restore take it.")
        files = tuple(str(file.expanduser().absolute()) for file in self.image or ())
        return {
            **super().named_settings(),
            "prior.run": self._prior_run(),
            "data.dataset": self.dataset and _absolute(self.dataset),
            "images.indices": self.images and _index_range(self.images),
            "images.files": files or None,
        }

    def _refuse_other_kinds(self) -> None:
        """Raise UserError for an option of another kind."""
        if self.kind == "dip" and self.epochs is not None:
            problem = "dip is fitted to each image and has no epochs."
            raise UserError(problem, f"Use --iterations {self.epochs} instead.")
        if self.kind == "ddpm" and self.iterations is not None:
            raise UserError("ddpm is trained in passes over the data, not iterations.", "Use --epochs instead.")
        if self.kind == "ddpm" and self.images is not None:
            raise UserError("ddpm restores no images.", "Leave --images out; data.train_images limits the training.")

    def _prior_run(self) -> str | None:
        """The folder of the run that a hybrid takes its prior from, "" for one to train, None for the default."""
        method = self.method or PRESETS["hybrid"].get(self.preset or "", {}).get("hybrid.method", "")
        trains_prior = self.epochs is not None and epochs_train_prior(method)
        if self.prior is None:
            return "" if self.kind == "hybrid" and trains_prior else None  # who asks for epochs wants a training
        if self.kind != "hybrid":
            raise UserError(f"{self.kind} builds on no prior.", "Leave --from out, or run hybrid.")
        if trains_prior:
            raise UserError("--epochs trains a prior, and --from takes one that is trained.", "Leave one of them out.")
        return prior_name(self.prior, self.runs_dir)


@command(RunOptions)
def run(options: RunOptions) -> int:
    """Train or fit: a detached process does the work, and this command follows it; Ctrl-C asks it to stop."""
    return start(options.config(), options, options.mirror)


@dataclass(frozen=True, kw_only=True)
class ForkOptions(NewRun):
    """The options of `dipddpm fork`."""

    run: RunArgument
    data_dir: Path | None = field(default=None, init=False)
    processes: int | None = field(default=None, init=False)


@command(ForkOptions)
def fork(options: ForkOptions) -> int:
    """Start a run like another one, but for what is given here. It begins anew; resume goes on with the old one."""
    draft = Draft.fork(find_run(options.run, options.runs_dir).config())
    draft.set_values({key: str(value) for key, value in options.config_settings().items()})
    return start(draft.config(), options)


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(NewRun):
    """The options of `dipddpm reproduce`."""

    quick: bool = option(False, "Minutes on a CPU: fewer images and epochs than were published.", "--quick")
    full: bool | None = option(None, "Take the hybrid on to 100 epochs too.", "--full", key="study.full")
    processes: int | None = field(default=None, init=False)
    group: str | None = field(default=None, init=False)
    on: str | None = field(default=None, init=False)
    now: bool = field(default=False, init=False)


@command(ReproduceOptions)
def reproduce(options: ReproduceOptions) -> int:
    """Reproduce the published study, number by number, and show why its hybrid failed and which ones don't.

    Each stage is a run of its own; those that the history has already are not made again. The report is report.html,
    and report.md, in the study's folder.
    """
    if options.quick and options.full:
        raise UserError("--quick and --full exclude each other.", "Leave one of them out.")
    config = configs.build("study", preset="quick" if options.quick else None, settings=options.config_settings())
    return start(config, options)


def start(config: AnyRun, options: NewRun, mirror: str | None = None) -> int:
    """Make the run's folder, start its worker and, unless detached, follow it; a dry run only prints the config."""
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
    """Refuse new runs that would fail, and fetch their data; the cluster that they are for, "" for this machine.

    Raises UserError, before anything is fetched.
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
    """A prior, or epochs to train one, for a method that has no use for it."""
    if not isinstance(config, HybridRun) or config.hybrid.learns:
        return
    if epochs is not None and not config.hybrid.needs_prior:
        problem = f"{config.method} is fitted to each image and has no epochs."
        raise UserError(problem, f"Use --iterations {epochs} instead.")
    if prior is not None and (config.trains or not config.hybrid.needs_prior):
        raise UserError(f"{config.method} takes no trained prior.", "Leave --from out, or choose another --method.")


def _absolute(dataset: str) -> str:
    """A folder of images by its whole path: the run may be resumed from anywhere."""
    prefix, folder, path = dataset.partition("folder:")
    return f"{folder}{Path(path).expanduser().absolute()}" if folder and path and not prefix else dataset


def _index_range(images: str) -> str:
    """A plain number is a count: the first N."""
    if not images.isdecimal():
        return images
    if int(images) < 1:
        raise UserError("--images 0 leaves nothing to restore.", "Give 1 or more.")
    return f"0-{int(images) - 1}"
