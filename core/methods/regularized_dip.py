"""Hybrids that are one DIP fit to which something is attached: a penalty, or what its networks see in place of z."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import msgspec
import torch
from torch import Tensor

from dipddpm.core.config.dip import DipConfig
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.degrade import Degradation
from dipddpm.core.degrade.case import Case
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.events import Item, StateDict
from dipddpm.core.methods.dip import dip_fit


class BatchAttachment:
    """What a method adds to a batch of priors, with the random draws and the trained network that it has for that."""

    stored: ClassVar[dict[str, str]] = {}
    """Attributes of a subclass that its state holds, by their key there."""

    def __init__(self, y: Tensor, seed: int, denoiser: Denoiser | None = None) -> None:
        self.denoiser = denoiser
        self.generator = torch.Generator(y.device).manual_seed(seed)
        self.step = 0

    @property
    def nfe(self) -> int:
        """Evaluations of a trained network for each image."""
        return self.denoiser.nfe if self.denoiser else 0

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs but the trained network; valid between two iterations."""
        own = {"generator": self.generator.get_state(), "step": self.step}
        own |= {key: getattr(self, name) for key, name in self.stored.items()}
        return {**own, "nfe": self.nfe} if self.denoiser else own

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        self.generator.set_state(state["generator"].cpu())
        self.step = state["step"]
        for key, name in self.stored.items():
            setattr(self, name, state[key])
        if self.denoiser:
            self.denoiser.nfe = state["nfe"]


class OneFit(ABC):
    """A DIP fit of each image, stopped as plain DIP is, to whose batches a method attaches something of its own."""

    def __init__(self, case: Case, dip: DipConfig, seed: int) -> None:
        """Raises UserError for a stopping rule that can't work with this noise."""
        self.case, self.dip, self.seed = case, dip, seed
        self._prepare()

    def _prepare(self, groups: list[list[int]] | None = None) -> None:
        self.fit = dip_fit(self.case, self.dip, self.seed, groups)
        pairs = zip(self.fit.batches, self.fit.indices, strict=True)
        attached = [self.attach(batch, list(indices)) for batch, indices in pairs]
        self.attached = [each for each in attached if each is not None]

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


class Feed(BatchAttachment, ABC):
    """The images that the networks of a batch see, and how they are renewed every so many iterations."""

    stored: ClassVar[dict[str, str]] = {"seen": "current_input"}

    def __init__(self, batch: PriorBatch, every: int, seed: int, denoiser: Denoiser | None = None) -> None:
        super().__init__(batch.y, seed, denoiser)
        self.batch, self.every = batch, every
        self.current_input = torch.zeros_like(batch.restored)
        """(B, C, H, W), in [0, 1] but not clipped."""

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


class FedRestorer(OneFit):
    """A fit of each image whose network is fed images in place of a random z, others every few iterations.

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


def falling_level(start: float, floor: float, share: float) -> float:
    """A level that falls geometrically from one to another as `share` rises from 0 to 1, and then stays there."""
    share = min(1.0, share)
    return float(start ** (1 - share) * floor**share)


def noise_floor(floor: float, degradation: Degradation, y: Tensor) -> float:
    """A level in 8-bit grey levels, or that of the noise in y where it is higher and known."""
    variance = degradation.expected_residual(y)
    least = 0.0 if variance is None else 255 * variance.clamp(min=0).sqrt().mean().item()
    return max(floor, least)
