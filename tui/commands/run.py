"""`dipddpm run`: from options to a config, from a config to a worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from core import config as configs
from core import launch, preflight
from core.config import HYBRIDS, PRESETS, AnyRun, HybridRun
from core.errors import UserError
from core.runs import RunsFolder
from tui.commands.data import fetch_with_bar
from tui.commands.options import (
    DataDir,
    Detach,
    Device,
    DryRun,
    Json,
    Name,
    Now,
    RunsDir,
    Seed,
    Settings,
    given,
    prior_of,
)
from tui.follow import follow

KINDS_HELP = "dip fits an untrained network to each image; ddpm trains a diffusion model; hybrid combines them."


def run(
    kind: Annotated[str, typer.Argument(metavar="{dip|ddpm|hybrid}", help=KINDS_HELP)],
    *,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images (ddpm, hybrid).")] = None,
    iterations: Annotated[int | None, typer.Option(help="Steps on each image (dip).")] = None,
    method: Annotated[str | None, typer.Option(help="How the two are combined (hybrid).")] = None,
    prior: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="The run whose model is the prior, or reference (hybrid)."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="fashionmnist, fashion-mini, mnist, kmnist, cifar10 or folder:PATH.")
    ] = None,
    data_dir: DataDir = None,
    images: Annotated[
        str | None, typer.Option(metavar="N|LIST", help="Images to restore: the first N, or places as 3,17 or 0-9.")
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="An image file to restore; may be repeated.")
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="SPEC", help="The degradation, as denoise:sigma=25.")] = None,
    preset: Annotated[str | None, typer.Option(help="A named set of options; quick takes a minute or two.")] = None,
    settings: Settings = None,
    device: Device = None,
    seed: Seed = None,
    name: Name = None,
    detach: Detach = False,
    now: Now = False,
    dry_run: DryRun = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> int:
    """Train or fit: a detached process does the work, and this command follows it; Ctrl-C asks it to stop."""
    options = _options(kind, epochs, iterations, images)
    fresh = epochs is not None and not _learns(method, preset)
    if prior is not None:
        options["prior.run"] = _prior(kind, prior, runs_dir, fresh=fresh)
    elif kind == "hybrid" and fresh:
        options["prior.run"] = ""  # who asks for epochs wants a training
    options |= {"data.dataset": dataset and _absolute(dataset)}
    options |= {"device": device, "seed": seed, "name": name}
    if image:
        options["images.files"] = tuple(str(file.expanduser().absolute()) for file in image)
    chosen = given(options, data_dir, settings)
    config = configs.build(kind, method=method, preset=preset, task=task, settings=chosen)
    _refuse_unused(config, prior, epochs)
    return start(config, runs_dir, dry_run=dry_run, detach=detach, now=now, as_json=json)


def start(
    config: AnyRun, runs_dir: Path | None, *, dry_run: bool = False, detach: bool, now: bool, as_json: bool
) -> int:
    """Make the run's folder, start its worker and, unless detached, follow it; a dry run only prints the config."""
    if dry_run:
        print(configs.to_toml(config), end="")
        return 0
    missing = preflight.missing_data(config)
    preflight.refuse(config, fetching=missing is not None)
    if missing is not None:
        fetch_with_bar(missing)
    run = RunsFolder(launch.runs_root(runs_dir)).create(config)
    launch.start(run, now=now)
    if detach:
        print(run.id)
        return 0
    if not as_json:
        print(f"Run {run.id} in {run.folder}", file=sys.stderr)
    return follow(run, as_json=as_json, stop_on_interrupt=True)


def _options(kind: str, epochs: int | None, iterations: int | None, images: str | None) -> dict[str, Any]:
    """The options whose meaning depends on the kind; refused by name where they have none."""
    if kind == "dip" and epochs is not None:
        raise UserError("dip is fitted to each image and has no epochs.", f"Use --iterations {epochs} instead.")
    if kind == "ddpm" and iterations is not None:
        raise UserError("ddpm is trained in passes over the data, not iterations.", "Use --epochs instead.")
    if kind == "ddpm" and images is not None:
        raise UserError("ddpm restores no images.", "Leave --images out; data.train_images limits the training.")
    return {"ddpm.epochs": epochs, "dip.iterations": iterations, "images.indices": images and _places(images)}


def _learns(method: str | None, preset: str | None) -> bool:
    """Whether the epochs are those of the hybrid itself, which goes on from a prior."""
    chosen = method or PRESETS["hybrid"].get(preset or "", {}).get("hybrid.method", "")
    return chosen in HYBRIDS and HYBRIDS[chosen].learns


def _prior(kind: str, run: str, runs_dir: Path | None, *, fresh: bool) -> str:
    """The folder of the run that a hybrid takes its prior from, or the word for the one that ships."""
    if kind != "hybrid":
        raise UserError(f"{kind} builds on no prior.", "Leave --from out, or run hybrid.")
    if fresh:
        raise UserError("--epochs trains a prior, and --from takes one that is trained.", "Leave one of them out.")
    return prior_of(run, runs_dir)


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


def _places(images: str) -> str:
    """A plain number is a count: the first N."""
    if not images.isdecimal():
        return images
    if int(images) < 1:
        raise UserError("--images 0 leaves nothing to restore.", "Give 1 or more.")
    return f"0-{int(images) - 1}"
