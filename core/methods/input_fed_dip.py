"""Untrained networks that are fed an image in place of a random z, another one every few iterations of their fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import msgspec
import torch
from torch import Tensor

from dipddpm.core.config.dip import DipConfig
from dipddpm.core.degrade.case import Case
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.events import StateDict
from dipddpm.core.methods.regularized_dip import OneFit


class Feed(ABC):
    """The images that the networks of a batch see, and how they are renewed every so many iterations."""

    def __init__(self, batch: PriorBatch, every: int, seed: int) -> None:
        self.batch = batch
        self.every = every
        self.generator = torch.Generator(batch.y.device).manual_seed(seed)
        self.current_input = torch.zeros_like(batch.restored)
        """(B, C, H, W), in [0, 1] but not clipped."""
        self.step = 0

    def __call__(self, indices: Tensor) -> Tensor:
        """What the networks at these places see at this iteration, (n, C, H, W)."""
        if self.step % self.every == 0:
            with torch.no_grad():
                self.current_input = self.current_input.index_copy(0, indices, self.renew(indices))
        self.step += 1
        return self.current_input[indices]

    @abstractmethod
    def renew(self, indices: Tensor) -> Tensor:
        """New images for these places, (n, C, H, W); `batch.output` is what the networks made of the old ones."""

    @property
    def nfe(self) -> int:
        """Evaluations of a trained network for each image."""
        return 0

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two iterations."""
        return {"seen": self.current_input, "step": self.step, "generator": self.generator.get_state()}

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        self.current_input, self.step = state["seen"], state["step"]
        self.generator.set_state(state["generator"].cpu())


class FedRestorer(OneFit):
    """A fit of each image whose network is fed, stopped as plain DIP is.

    The network is the hourglass of the options of DIP, with as many input channels as the image has: the deep decoder
    takes no image.
    """

    def __init__(self, case: Case, dip: DipConfig, feed: Callable[[PriorBatch], Feed], *, seed: int) -> None:
        """`feed` makes that of a batch. Raises UserError for a stopping rule that can't work with this noise."""
        self.feed = feed
        super().__init__(case, msgspec.structs.replace(dip, network="skip", input_channels=case.shape[1]), seed)

    def attach(self, batch: PriorBatch, indices: list[int]) -> Feed:
        """The batch's own feed."""
        del indices
        batch.input_source = made = self.feed(batch)
        return made
