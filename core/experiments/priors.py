"""Load the trained prior of a hybrid from another run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from dipddpm.core.compute import checkpoint
from dipddpm.core.config import HybridPriorConfig
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sensitivity import Sensitivity
from dipddpm.core.errors import UserError
from dipddpm.core.events import Message, PriorLoaded
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


def load_priors(priors: HybridPriorConfig, device: torch.device | str) -> tuple[TrainedModel, list[PriorLoaded]]:
    """Load the prior of a hybrid, with the second one, if there is one; return the events that identify them, too.

    Raises UserError as `load_prior`.
    """
    model, loaded = load_prior(priors.run, device)
    if not priors.second:
        return model, [loaded]
    second, other = load_prior(priors.second, device)
    return replace(model, second=second), [loaded, other]


def prior_warnings(prior: TrainedModel) -> Iterator[Message]:
    """Yield a warning if the prior can't see the brightness or the contrast of its input; measured, in one pass."""
    measured = Sensitivity.of(prior.network, prior.shape, len(prior.schedule))
    if text := measured.text(f"of the prior, {prior.options.network},"):
        why = "So its restorations may be too bright or too dark, above all where little of the image was measured."
        yield Message(text=f"{text} {why}", level="warning")
