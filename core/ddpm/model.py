"""A trained model loaded from its run folder: the network, its schedule and its options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dipddpm.core.compute import checkpoint
from dipddpm.core.compute.compile import compile_network
from dipddpm.core.config import DdpmConfig
from dipddpm.core.config.base import CompileMode
from dipddpm.core.ddpm.denoiser import Denoiser, Network
from dipddpm.core.ddpm.patches import PatchDenoiser
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.runs import BEST_FILE, trained


@dataclass(frozen=True)
class TrainedModel:
    """A network on a device, in eval mode, and the options that it was trained with."""

    network: nn.Module
    schedule: Schedule
    options: DdpmConfig
    device: torch.device
    fast: Network | None = None
    """The compiled network, if there is one."""
    any_size: bool = False
    """True for a model of patches, which restores pictures of any size and number of channels."""
    second: TrainedModel | None = None
    """A further model of images of the same size, for a hybrid that weighs two."""

    @classmethod
    def of_run(cls, folder: Path, device: torch.device | str = "cpu") -> TrainedModel:
        """Load the best model of a run of kind ddpm, or of a hybrid that has trained its prior.

        Raises UserError if the run has trained no model or its file is damaged.
        """
        config = trained.trained_config(folder)
        network, schedule = checkpoint.load(folder / BEST_FILE, device), Schedule.from_config(config.ddpm, device)
        any_size = trained.of_patches(config)
        return cls(network, schedule, config.ddpm, torch.device(device), any_size=any_size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of the images that the model was trained on."""
        channels, height, width = self.network.shape  # type: ignore[misc]
        return int(channels), int(height), int(width)

    @property
    def classes(self) -> int:
        """The number of classes that the model can be conditioned on; 0 for an unconditional model."""
        return int(self.network.classes)  # type: ignore[arg-type]

    def compiled(self, mode: CompileMode = "default") -> TrainedModel:
        """Return the same model whose denoisers use a compiled network; see `dipddpm.core.compute.compile`."""
        return replace(self, fast=compile_network(self.network, mode))

    def denoiser(self, *, label: Tensor | None = None, guidance: float = 1.0, clip: bool = False) -> Denoiser:
        """Return the model's denoiser, which samplers and restorations use; see `Denoiser` and `PatchDenoiser`."""
        network, objective = self.fast or self.network, self.options.objective
        if self.any_size:
            return PatchDenoiser(network, self.schedule, objective=objective, clip=clip, shape=self.shape)
        return Denoiser(network, self.schedule, objective=objective, label=label, guidance=guidance, clip=clip)
