"""`dipddpm run`: from options to a config, from a config to a worker."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipddpm.core import config as configs
from dipddpm.core.config import HYBRIDS, PRESETS, AnyRun, HybridRun
from dipddpm.core.errors import UserError
from dipddpm.core.export.mirror import refuse_mirror, request_mirror
from dipddpm.core.launch import local, preflight, submit
from dipddpm.core.runs import RunsFolder
from dipddpm.tui.cli.data import fetch_with_bar
from dipddpm.tui.cli.follow import follow
from dipddpm.tui.cli.options import (
    DataDir,
    Dataset,
    Detach,
    Device,
    DryRun,
    Epochs,
    Group,
    ImageFiles,
    Images,
    Iterations,
    Json,
    Kind,
    Method,
    Mirror,
    Name,
    Now,
    On,
    Preset,
    Prior,
    Processes,
    RunsDir,
    Seed,
    Settings,
    TaskSpec,
    config_settings,
    prior_name,
)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the command line was told of a run, by the names of its options."""

    kind: str
    epochs: int | None = None
    iterations: int | None = None
    method: str | None = None
    prior: str | None = None
    dataset: str | None = None
    data_dir: Path | None = None
    images: str | None = None
    image: Sequence[Path] = ()
    task: str | None = None
    preset: str | None = None
    settings: list[str] | None = None
    device: str | None = None
    processes: int | None = None
    seed: int | None = None
    name: str | None = None
    group: str | None = None
    runs_dir: Path | None = None

    def options(self) -> dict[str, Any]:
        """What was given with a name of its own, by dotted key. Raises UserError for what the kind has no use for."""
        options = _options(self.kind, self.epochs, self.iterations, self.images)
        trains_prior = self.epochs is not None and not _continues_prior(self.method, self.preset)
        if self.prior is not None:
            options["prior.run"] = _prior(self.kind, self.prior, self.runs_dir, trains_prior=trains_prior)
        elif self.kind == "hybrid" and trains_prior:
            options["prior.run"] = ""  # who asks for epochs wants a training
        options |= {"data.dataset": self.dataset and _absolute(self.dataset)}
        options |= {"device": self.device, "seed": self.seed, "name": self.name, "group": self.group}
        if self.processes is not None:
            if self.kind == "hybrid":
                problem = "A hybrid restores its images together, in a time that its parents are given as well."
                raise UserError(problem, "Leave --gpus out; run ddpm, run dip and restore take it.")
            options["processes"] = self.processes
        if self.image:
            options["images.files"] = tuple(str(file.expanduser().absolute()) for file in self.image)
        return {key: value for key, value in options.items() if value is not None}

    def config(self) -> AnyRun:
        """The complete config. Raises UserError for what is wrong with it."""
        chosen = config_settings(self.options(), self.data_dir, self.settings)
        config = configs.build(self.kind, method=self.method, preset=self.preset, task=self.task, settings=chosen)
        _refuse_unused(config, self.prior, self.epochs)
        return config


def run(
    kind: Kind,
    *,
    epochs: Epochs = None,
    iterations: Iterations = None,
    method: Method = None,
    prior: Prior = None,
    dataset: Dataset = None,
    data_dir: DataDir = None,
    images: Images = None,
    image: ImageFiles = None,
    task: TaskSpec = None,
    preset: Preset = None,
    settings: Settings = None,
    device: Device = None,
    gpus: Processes = None,
    seed: Seed = None,
    name: Name = None,
    group: Group = None,
    mirror: Mirror = None,
    on: On = None,
    detach: Detach = False,
    now: Now = False,
    dry_run: DryRun = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> int:
    """Train or fit: a detached process does the work, and this command follows it; Ctrl-C asks it to stop."""
    request = RunRequest(
        kind=kind,
        epochs=epochs,
        iterations=iterations,
        method=method,
        prior=prior,
        dataset=dataset,
        data_dir=data_dir,
        images=images,
        image=image or (),
        task=task,
        preset=preset,
        settings=settings,
        device=device,
        processes=gpus,
        seed=seed,
        name=name,
        group=group,
        runs_dir=runs_dir,
    )
    config = request.config()
    return start(config, runs_dir, mirror=mirror, on=on, dry_run=dry_run, detach=detach, now=now, as_json=json)


def start(
    config: AnyRun,
    runs_dir: Path | None,
    *,
    mirror: str | None = None,
    on: str | None = None,
    dry_run: bool = False,
    detach: bool,
    now: bool,
    as_json: bool,
) -> int:
    """Make the run's folder, start its worker and, unless detached, follow it; a dry run only prints the config."""
    if mirror is not None:
        refuse_mirror(mirror)
    if dry_run:
        print(configs.to_toml(config), end="")
        return 0
    on = cluster_for(on, config)
    missing = preflight.missing_data(config)
    preflight.refuse(config, fetching=missing is not None, elsewhere=bool(on))
    if missing is not None:
        fetch_with_bar(missing)
    run = RunsFolder(local.runs_root(runs_dir)).create(config)
    if mirror is not None:
        print(f"Next: {mirror} --logdir {shlex.quote(str(request_mirror(run, mirror)))}", file=sys.stderr)
    local.start(run, now=now, on=on)
    if detach:
        print(run.id)
        return 0
    if not as_json:
        print(f"Run {run.id} in {run.folder}", file=sys.stderr)
    return follow(run, as_json=as_json, stop_on_interrupt=True)


def cluster_for(on: str | None, config: AnyRun) -> str:
    """The cluster that a new run is meant for; empty for this machine. Raises UserError for one that can't be."""
    if on is None or on == submit.HERE:
        return ""
    submit.refuse(on, config)
    return on


def _options(kind: str, epochs: int | None, iterations: int | None, images: str | None) -> dict[str, Any]:
    """The options whose meaning depends on the kind; refused by name where they have none."""
    if kind == "dip" and epochs is not None:
        raise UserError("dip is fitted to each image and has no epochs.", f"Use --iterations {epochs} instead.")
    if kind == "ddpm" and iterations is not None:
        raise UserError("ddpm is trained in passes over the data, not iterations.", "Use --epochs instead.")
    if kind == "ddpm" and images is not None:
        raise UserError("ddpm restores no images.", "Leave --images out; data.train_images limits the training.")
    return {"ddpm.epochs": epochs, "dip.iterations": iterations, "images.indices": images and _index_range(images)}


def _continues_prior(method: str | None, preset: str | None) -> bool:
    """Whether the epochs are those of the hybrid itself, which goes on from a prior."""
    chosen = method or PRESETS["hybrid"].get(preset or "", {}).get("hybrid.method", "")
    return chosen in HYBRIDS and HYBRIDS[chosen].learns


def _prior(kind: str, run: str, runs_dir: Path | None, *, trains_prior: bool) -> str:
    """The folder of the run that a hybrid takes its prior from, or the word for the one that ships."""
    if kind != "hybrid":
        raise UserError(f"{kind} builds on no prior.", "Leave --from out, or run hybrid.")
    if trains_prior:
        raise UserError("--epochs trains a prior, and --from takes one that is trained.", "Leave one of them out.")
    return prior_name(run, runs_dir)


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
