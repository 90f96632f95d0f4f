"""Hybrids that are one DIP fit with something attached to it, and how the noise falls in what is attached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from dipddpm.core.config.dip import DipConfig
from dipddpm.core.degrade import Degradation
from dipddpm.core.degrade.case import Case
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.events import Item, StateDict
from dipddpm.core.methods.dip import dip_fit


class BatchAttachment(Protocol):
    """What a method adds to a batch of priors: a penalty, or what their networks see."""

    @property
    def nfe(self) -> int:
        """Evaluations of a trained network for each image."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two iterations."""
        ...

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        ...


class OneFit(ABC):
    """A DIP fit of each image, stopped as plain DIP is, to whose batches a method attaches something of its own."""

    def __init__(self, case: Case, dip: DipConfig, seed: int) -> None:
        """Raises UserError for a stopping rule that can't work with this noise."""
        self.case, self.dip, self.seed = case, dip, seed
        self._prepare()

    def _prepare(self, groups: list[list[int]] | None = None) -> None:
        self.fit = dip_fit(self.case, self.dip, self.seed, groups)
        pairs = zip(self.fit.batches, self.fit.indices, strict=True)
        self.attached = [
            attachment for batch, indices in pairs if (attachment := self.attach(batch, list(indices))) is not None
        ]

    @abstractmethod
    def attach(self, batch: PriorBatch, indices: list[int]) -> BatchAttachment | None:
        """Attach something to the batch of the images at these places; None where nothing is."""

    def __len__(self) -> int:
        return self.dip.iterations

    def __iter__(self) -> Iterator[Item]:
        return iter(self.fit)

    @property
    def images(self) -> Tensor:
        """(N, C, H, W), in [0, 1]."""
        return torch.stack(self.fit.restored)

    @property
    def nfe(self) -> int:
        """Of the image that took most of them."""
        return max((each.nfe for each in self.attached), default=0)

    @property
    def iterations(self) -> int:
        """Of the one fit."""
        return self.fit.step

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs but a trained network; valid after a `Step`."""
        return {
            "groups": [list(indices) for indices in self.fit.indices],
            "fit": self.fit.state_dict(),
            "attached": [each.state_dict() for each in self.attached],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called, in its groups."""
        self._prepare(state["groups"])
        self.fit.load_state_dict(state["fit"])
        for each, its_state in zip(self.attached, state["attached"], strict=True):
            each.load_state_dict(its_state)


def falling_level(start: float, floor: float, share: float) -> float:
    """A level that falls geometrically from one to another as `share` rises from 0 to 1, and then stays there."""
    share = min(1.0, share)
    return float(start ** (1 - share) * floor**share)


def noise_floor(floor: float, degradation: Degradation, y: Tensor) -> float:
    """A level in 8-bit grey levels, or that of the noise in y where it is higher and known."""
    variance = degradation.expected_residual(y)
    least = 0.0 if variance is None else 255 * variance.clamp(min=0).sqrt().mean().item()
    return max(floor, least)
