"""Load the trained prior of a hybrid from another run."""

from __future__ import annotations

import torch

from dipddpm.core.compute import checkpoint
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.errors import UserError
from dipddpm.core.events import PriorLoaded
from dipddpm.core.runs import BEST_FILE, reference, trained


def load_prior(run: str, device: torch.device | str) -> tuple[TrainedModel, PriorLoaded]:
    """Load the best diffusion model of a run, named as in `prior.run`; return it with the event that identifies it.

    Raises UserError for a run that doesn't exist, or that has no such model of its own.
    """
    folder = reference.prior_folder(run)
    if not folder.is_dir():
        raise UserError(f"The run of the prior doesn't exist: {folder}.", "Name another run with --from.")
    model = TrainedModel.of_run(folder, device)
    return model, PriorLoaded(
        run=folder.name,
        sha256=checkpoint.digest(folder / BEST_FILE),
        parameters=sum(p.numel() for p in model.network.parameters()),
        options=trained.model_options(model.options),
    )
