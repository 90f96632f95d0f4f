"""Base classes of hybrids that are one DIP fit with an attachment: a penalty, or images as input in place of z."""

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
    """A method's addition to a batch of DIP fits, with a random generator, a step count and, if used, a denoiser."""

    stored: ClassVar[dict[str, str]] = {}
    """Attributes of a subclass that belong to its state, by their key in the state."""

    def __init__(self, y: Tensor, seed: int, denoiser: Denoiser | None = None) -> None:
        self.denoiser = denoiser
        self.generator = torch.Generator(y.device).manual_seed(seed)
        self.step = 0

    @property
    def nfe(self) -> int:
        """Evaluations of the trained network for each image; 0 without a trained network."""
        return self.denoiser.nfe if self.denoiser else 0

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the trained network; valid between two iterations."""
        own = {"generator": self.generator.get_state(), "step": self.step}
        own |= {key: getattr(self, name) for key, name in self.stored.items()}
        return {**own, "nfe": self.nfe} if self.denoiser else own

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned."""
        self.generator.set_state(state["generator"].cpu())
        self.step = state["step"]
        for key, name in self.stored.items():
            setattr(self, name, state[key])
        if self.denoiser:
            self.denoiser.nfe = state["nfe"]


class OneFit(ABC):
    """A DIP fit of each image, stopped as plain DIP is; a subclass attaches something to each batch of the fit."""

    spread = None

    def __init__(self, case: Case, dip: DipConfig, seed: int, copies: int = 1) -> None:
        """Set up the fit and its attachments; for `copies` see `dip_fit`.

        Raises UserError for a stopping rule that can't work with this noise.
        """
        self.case, self.dip, self.seed, self.copies = case, dip, seed, copies
        self._prepare()

    def _prepare(self, groups: list[list[int]] | None = None) -> None:
        self.fit = dip_fit(self.case, self.dip, self.seed, groups, copies=self.copies)
        pairs = zip(self.fit.batches, self.fit.indices, strict=True)
        attached = [self.attach(batch, list(indices)) for batch, indices in pairs]
        self.attached = [each for each in attached if each is not None]

    @abstractmethod
    def attach(self, batch: PriorBatch, indices: list[int]) -> BatchAttachment | None:
        """Attach the method's addition to the batch of the images at `indices`; return it, or None if there is none."""

    def __len__(self) -> int:
        return self.dip.iterations

    def __iter__(self) -> Iterator[Item]:
        return iter(self.fit)

    @property
    def images(self) -> Tensor:
        """The restorations so far, (N, C, H, W), in [0, 1]."""
        return torch.stack(self.fit.restored)

    @property
    def nfe(self) -> int:
        """Evaluations of the trained network for the image with the most of them."""
        return max((each.nfe for each in self.attached), default=0)

    @property
    def iterations(self) -> int:
        """Iterations of the fit."""
        return self.fit.step

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the trained network; valid after a `Step`."""
        return {
            "groups": [list(indices) for indices in self.fit.indices],
            "fit": self.fit.state_dict(),
            "attached": [each.state_dict() for each in self.attached],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned, in its groups of images."""
        self._prepare(state["groups"])
        self.fit.load_state_dict(state["fit"])
        for each, its_state in zip(self.attached, state["attached"], strict=True):
            each.load_state_dict(its_state)


class InputFeed(BatchAttachment, ABC):
    """Images that a batch's networks get as input; `renew` replaces them every `every` iterations."""

    stored: ClassVar[dict[str, str]] = {"seen": "current_input"}

    def __init__(self, batch: PriorBatch, every: int, seed: int, denoiser: Denoiser | None = None) -> None:
        super().__init__(batch.y, seed, denoiser)
        self.batch, self.every = batch, every
        self.current_input = torch.zeros_like(batch.restored)
        """The networks' current input, (B, C, H, W), in [0, 1] but not clipped."""

    def __call__(self, indices: Tensor) -> Tensor:
        """Return the input of the networks at `indices` for this iteration, (n, C, H, W)."""
        if self.step % self.every == 0:
            with torch.no_grad():
                self.current_input = self.current_input.index_copy(0, indices, self.renew(indices))
        self.step += 1
        return self.current_input[indices]

    @abstractmethod
    def renew(self, indices: Tensor) -> Tensor:
        """Return new input for the networks at `indices`, (n, C, H, W); `batch.output` has their last outputs."""


class InputFeedRestorer(OneFit):
    """A DIP fit of each image whose network gets images as input in place of a random z, new ones every few iterations.

    The network is DIP's hourglass, with as many input channels as the image has, whichever network the options name:
    the deep decoder can't take an image as input.
    """

    def __init__(self, case: Case, dip: DipConfig, feed: Callable[[PriorBatch], InputFeed], *, seed: int) -> None:
        """Set up the fit; `feed` builds the input feed of a batch.

        Raises UserError for a stopping rule that can't work with this noise.
        """
        self.feed = feed
        super().__init__(case, msgspec.structs.replace(dip, network="skip", input_channels=case.shape[1]), seed)

    def attach(self, batch: PriorBatch, indices: list[int]) -> InputFeed:
        """Build an input feed, make it the batch's input source, and return it."""
        del indices
        batch.input_source = feed = self.feed(batch)
        return feed


def falling_level(start: float, floor: float, share: float) -> float:
    """Return a level that falls geometrically from `start` to `floor` as `share` goes from 0 to 1, and stays there."""
    share = min(1.0, share)
    return float(start ** (1 - share) * floor**share)


def noise_floor(floor: float, degradation: Degradation, y: Tensor) -> float:
    """Return the larger of `floor` and the noise level of y, in 8-bit grey levels; an unknown level counts as 0."""
    variance = degradation.expected_residual(y)
    least = 0.0 if variance is None else 255 * variance.clamp(min=0).sqrt().mean().item()
    return max(floor, least)
