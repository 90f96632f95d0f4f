"""Options that several benchmarks share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import torch
import typer

from dipddpm.core import config as configs
from dipddpm.core.compute import devices
from dipddpm.core.config import DdpmRun, DipRun
from dipddpm.core.errors import UserError
from dipddpm.core.launch import preflight
from dipddpm.core.runs import Run

Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Out: TypeAlias = Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write the numbers and the picture.")]
Threads: TypeAlias = Annotated[int, typer.Option(min=0, help="CPU threads; 0: all cores.")]
Dataset: TypeAlias = Annotated[str, typer.Option(help="The data set of the images.")]
Split: TypeAlias = Annotated[str, typer.Option(help="The split of the data set: train or test.")]
Images: TypeAlias = Annotated[str, typer.Option(help="Indices of images in the split, for example 0-9 or 3,17,42.")]


def resolve(device: str, threads: int = 0) -> torch.device:
    """Return the device of this name and set the number of threads. Raises UserError if the device is missing."""
    if threads:
        torch.set_num_threads(threads)
    return devices.resolve(devices.candidates(device)[0])


def dip_config(dataset: str, split: str, images: str, settings: dict[str, Any], task: str = "denoise") -> DipRun:
    """Return the config of DIP fits of these images. Raises UserError for images that don't exist."""
    chosen = {"data.dataset": dataset, "images.split": split, "images.indices": images, **settings}
    config = configs.build("dip", task=task, settings=chosen)
    assert isinstance(config, DipRun)
    preflight.refuse(config)
    return config


def ddpm_config(run: Run) -> DdpmRun:
    """Return the config of a run of kind ddpm. Raises UserError for a run of another kind."""
    config = run.config()
    if not isinstance(config, DdpmRun):
        raise UserError(f"{run.id} is a run of kind {config.kind}.", "Give runs of kind ddpm; dipddpm ls shows them.")
    return config


def dataset_root(config: DdpmRun) -> Path | None:
    """Return the folder that a config names for its data, if any."""
    return Path(config.data.directory).expanduser() if config.data.directory else None
