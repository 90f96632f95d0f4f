"""The run that a trained network is taken from, and whether it has one to give. Loads no torch."""

from __future__ import annotations

from pathlib import Path

from dipddpm.core import config as configs
from dipddpm.core.config import DdpmConfig, DdpmRun, HybridRun
from dipddpm.core.config.hybrid import Conditioned
from dipddpm.core.errors import UserError
from dipddpm.core.runs import reference
from dipddpm.core.runs.folder import BEST_FILE
from dipddpm.core.runs.summary import CONFIG_FILE


def trained_config(folder: Path) -> DdpmRun | HybridRun:
    """The config of a run that has trained a diffusion model and has stored its best one.

    Raises UserError for a run that trains none or took it from another, for one whose network needs to see more than
    xt, and where there is no best model yet.
    """
    config = configs.load(folder / CONFIG_FILE)
    if not (isinstance(config, DdpmRun) or (isinstance(config, HybridRun) and config.trains_prior)):
        if isinstance(config, HybridRun) and config.hybrid.needs_prior and not config.trains:
            owner = reference.prior_folder(config.prior.run).name
            raise UserError(f"{folder.name} has trained no prior: it took that of {owner}.", f"Give {owner} itself.")
        what = f"hybrid {config.method}" if isinstance(config, HybridRun) else config.kind
        problem = f"{folder.name} is a run of kind {what}: what it has trained can't sample by itself."
        raise UserError(problem, "Give a run of kind ddpm, or one of a hybrid that has trained its prior.")
    _refuse_without_best(folder)
    return config


def conditioned_config(folder: Path) -> tuple[HybridRun, DdpmConfig | None]:
    """The config of a run that has trained a conditioned network, and the options of the prior that it began with.

    Raises UserError for another run, without a best model, and where the prior's run is not there any more.
    """
    config = configs.load(folder / CONFIG_FILE)
    if not (isinstance(config, HybridRun) and isinstance(config.hybrid, Conditioned)):
        what = f"{config.kind} {config.method}".strip()
        problem = f"{folder.name} is a run of kind {what}, and has trained no conditioned network."
        raise UserError(problem, "Give one of dipddpm run hybrid --preset conditioned --task TASK.")
    _refuse_without_best(folder)
    return config, trained_config(reference.prior_folder(config.prior.run)).ddpm if config.prior.run else None


def _refuse_without_best(folder: Path) -> None:
    if not (folder / BEST_FILE).is_file():
        if folder.parent == reference.FOLDER:
            raise UserError(
                f"{folder.name} ships without its weights.", "Fork it to train it here, or give another run."
            )
        raise UserError(f"{folder.name} has no best model yet.", "Let it finish an epoch, or resume it.")
