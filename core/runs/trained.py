"""The configs of runs that have trained a network, with checks that there is one to load. Loads no torch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from dipddpm.core import config as configs
from dipddpm.core.config import AnyRun, DdpmConfig, DdpmRun, HybridRun
from dipddpm.core.config.hybrid import Conditioned
from dipddpm.core.config.shapes import TUTORIAL
from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic, records
from dipddpm.core.runs import reference
from dipddpm.core.runs.folder import BEST_FILE
from dipddpm.core.runs.summary import CONFIG_FILE

LEAVES = "leaves"
"""The name, in a run's config, of the drawn patches that `scripts.train_leaves_prior` trains on."""
_MAX_HEADER = 1 << 24
"""Largest number of bytes of the header of a model's file that are read."""


def trained_config(folder: Path) -> DdpmRun | HybridRun:
    """Return the config of a run that has trained a diffusion model and stored the best one.

    Raises UserError if the run trains no prior or took its prior from another run, if its network needs inputs besides
    xt, and if there is no best model yet.
    """
    config = configs.load(folder / CONFIG_FILE)
    if not (isinstance(config, DdpmRun) or (isinstance(config, HybridRun) and config.trains_prior)):
        if isinstance(config, HybridRun) and config.hybrid.needs_prior and not config.trains:
            owner = reference.prior_folder(config.prior.run).name
            problem = f"{folder.name} has trained no prior: it used the prior of {owner}."
            raise UserError(problem, f"Name {owner} instead.")
        what = f"hybrid {config.method}" if isinstance(config, HybridRun) else config.kind
        problem = f"{folder.name} is a run of kind {what}, which trains no network that can sample by itself."
        raise UserError(problem, "Name a run of kind ddpm, or a hybrid run that has trained its prior.")
    _refuse_without_best(folder)
    return config


def of_patches(config: AnyRun) -> bool:
    """Return whether a run's model is one of patches, which takes pictures of any size and number of channels."""
    return config.data.dataset == LEAVES


def conditioned_config(folder: Path) -> tuple[HybridRun, DdpmConfig | None]:
    """Return the config of a run that has trained a conditioned network, and the options of its initial prior, if any.

    Raises UserError if the run is of another kind, has no best model, or its prior's run is gone.
    """
    config = configs.load(folder / CONFIG_FILE)
    if not (isinstance(config, HybridRun) and isinstance(config.hybrid, Conditioned)):
        what = f"{config.kind} {config.method}".strip()
        problem = f"{folder.name} is a run of kind {what}, and has trained no conditioned network."
        raise UserError(problem, "Name a run of dipddpm run hybrid --preset conditioned --task TASK.")
    _refuse_without_best(folder)
    return config, trained_config(reference.prior_folder(config.prior.run)).ddpm if config.prior.run else None


def model_options(ddpm: DdpmConfig) -> dict[str, str]:
    """Return the options, as text, by which a network's output is turned into an image; its file doesn't hold them."""
    names = ("timesteps", "schedule", "beta_start", "beta_end", "zero_terminal_snr", "objective")
    return {name: str(getattr(ddpm, name)) for name in names}


def required_shape(run: str, *, learns: bool = False) -> tuple[int, int, int] | None:
    """Return the shape (C, H, W) of the images that a prior takes, named as in `prior.run`; None if it can't be read.

    None, too, for a prior of patches, which takes all images, unless a method trains its network further (`learns`).
    """
    folder = reference.prior_folder(run)
    with contextlib.suppress(UserError):
        if not learns and of_patches(configs.load(folder / CONFIG_FILE)):
            return None
    return trained_shape(folder)


def trained_shape(folder: Path) -> tuple[int, int, int] | None:
    """Return the shape (C, H, W) of the images that a run's best model was trained on; None if it can't be read.

    It is an argument of the network, which the header of the stored model holds.
    """
    try:
        with atomic.open_regular(folder / BEST_FILE) as file:
            length = int.from_bytes(file.read(8), "little")
            header = records.load(file.read(min(length, _MAX_HEADER)), dict[str, Any])
        network = records.load(header["__metadata__"]["dipddpm"].encode(), dict[str, Any])["network"]
        if network["name"] == "tutorial":
            return TUTORIAL
        channels, height, width = map(int, network["arguments"]["shape"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return channels, height, width


def _refuse_without_best(folder: Path) -> None:
    if not (folder / BEST_FILE).is_file():
        if folder.parent == reference.FOLDER:
            raise UserError(
                f"{folder.name} ships without its weights.", "Fork it to train it here, or give another run."
            )
        raise UserError(f"{folder.name} has no best model yet.", "Wait until it has finished an epoch, or resume it.")
