"""Untrained networks that are fed an image in place of a random z, another one every few iterations of their fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import torch
from torch import Tensor

from core.config.dip import DipConfig
from core.dip.batch import PriorBatch
from core.events import Item, State
from core.hybrid.parents import dip_fit
from core.hybrid.restorer import Case


class Feed(ABC):
    """The images that the networks of a batch see, and how they are renewed every so many iterations."""

    def __init__(self, batch: PriorBatch, every: int, seed: int) -> None:
        self.batch = batch
        self.every = every
        self.generator = torch.Generator(batch.y.device).manual_seed(seed)
        self.seen = torch.zeros_like(batch.restored)
        """(B, C, H, W), in [0, 1] but not clipped."""
        self.step = 0

    def __call__(self, places: Tensor) -> Tensor:
        """What the networks at these places see at this iteration, (n, C, H, W)."""
        if self.step % self.every == 0:
            with torch.no_grad():
                self.seen = self.seen.index_copy(0, places, self.renew(places))
        self.step += 1
        return self.seen[places]

    @abstractmethod
    def renew(self, places: Tensor) -> Tensor:
        """New images for these places, (n, C, H, W); `batch.output` is what the networks made of the old ones."""

    @property
    def nfe(self) -> int:
        """Evaluations of a trained network for each image."""
        return 0

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two iterations."""
        return {"seen": self.seen, "step": self.step, "generator": self.generator.get_state()}

    def load_state_dict(self, state: State) -> None:
        """The inverse of `state_dict`."""
        self.seen, self.step = state["seen"], state["step"]
        self.generator.set_state(state["generator"].cpu())


class FedRestorer:
    """A fit of each image whose network is fed, stopped as plain DIP is.

    The network is the hourglass of the options of DIP, with as many input channels as the image has: the deep decoder
    takes no image.
    """

    def __init__(self, case: Case, dip: DipConfig, feed: Callable[[PriorBatch], Feed], *, seed: int) -> None:
        """`feed` makes that of a batch. Raises UserError for a stopping rule that can't work with this noise."""
        self.case, self.feed, self.seed = case, feed, seed
        self.dip = msgspec.structs.replace(dip, network="skip", input_channels=case.shape[1])
        self._prepare()

    def _prepare(self, groups: list[list[int]] | None = None) -> None:
        self.fit = dip_fit(self.case, self.dip, self.seed, groups)
        self.feeds = [self.feed(batch) for batch in self.fit.batches]
        for batch, feed in zip(self.fit.batches, self.feeds, strict=True):
            batch.source = feed

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
        """Of the image that was fed for longest."""
        return max(feed.nfe for feed in self.feeds)

    @property
    def iterations(self) -> int:
        """Of the one fit."""
        return self.fit.step

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs but a trained network; valid between two items."""
        return {
            "groups": [list(places) for places in self.fit.places],
            "fit": self.fit.state_dict(),
            "feeds": [feed.state_dict() for feed in self.feeds],
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called, in its groups."""
        self._prepare(state["groups"])
        self.fit.load_state_dict(state["fit"])
        for feed, its_state in zip(self.feeds, state["feeds"], strict=True):
            feed.load_state_dict(its_state)


def falling(start: float, floor: float, share: float) -> float:
    """A level that falls geometrically from one to another as `share` rises from 0 to 1, and then stays there."""
    share = min(1.0, share)
    return float(start ** (1 - share) * floor**share)
