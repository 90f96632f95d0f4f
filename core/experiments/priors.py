"""The trained prior of a hybrid: taken out of another run, and the same one for as long as the run lasts."""

from __future__ import annotations

import torch

from dipddpm.core.compute import checkpoint
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.errors import UserError
from dipddpm.core.events import PriorLoaded
from dipddpm.core.runs import BEST_FILE, reference


def load_prior(run: str, device: torch.device | str) -> tuple[TrainedModel, PriorLoaded]:
    """The best diffusion model of a run, named as in `prior.run`, and the event that says which it is.

    Raises UserError for a run that is not there, or has no such model of its own.
    """
    folder = reference.prior_folder(run)
    if not folder.is_dir():
        raise UserError(f"The run of the prior is not there: {folder}.", "Give another one with --from.")
    model = TrainedModel.of_run(folder, device)
    digest = checkpoint.digest(folder / BEST_FILE)
    return model, PriorLoaded(
        run=folder.name, sha256=digest, parameters=sum(p.numel() for p in model.network.parameters())
    )


def refuse_other_prior(expected_sha256: str, loaded: PriorLoaded) -> None:
    """Raise UserError where a run that is resumed finds another model than the one of this hash."""
    if expected_sha256 != loaded.sha256:
        problem = f"The best model of {loaded.run} is not the one that this run began with."
        raise UserError(problem, "Start the run anew; a prior should have finished its training.")
