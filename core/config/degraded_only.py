"""The check of a config that learns a diffusion model from degraded images alone. Loads no torch."""

from __future__ import annotations

from dipddpm.core.config.hybrid import DegradedOnly
from dipddpm.core.config.run import HybridRun
from dipddpm.core.errors import UserError


def refuse(config: HybridRun) -> None:
    """Raise UserError for options by which `degraded-only` would use clean images, or that have no effect there."""
    if not isinstance(config.hybrid, DegradedOnly):
        return
    if config.prior.run:
        problem = f"{config.method} learns from degraded images alone, so it takes no trained prior."
        raise UserError(problem, "Leave out --from, and add --preset degraded-only or --set prior.run=.")
    if config.ddpm.hold_out:
        problem = "ddpm.hold_out selects the best model on clean images, and there are none."
        raise UserError(problem, "Set ddpm.hold_out to false: the last round's model is stored.")
    if config.ddpm.conditional:
        raise UserError(f"{config.method} learns no classes.", "Set ddpm.conditional to false.")
    if config.hybrid.steps > config.ddpm.timesteps:
        problem = f"hybrid.steps ({config.hybrid.steps}) exceeds ddpm.timesteps ({config.ddpm.timesteps})."
        raise UserError(problem, "Lower hybrid.steps.")
    images = config.images
    if images.split == "train" and not (images.files or images.given):
        problem = "The images to restore are training images, which must not measure what was learned."
        raise UserError(problem, "Set images.split to test, or give files of your own.")
