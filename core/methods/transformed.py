"""A restorer of a case that was made simpler: its images are mapped back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from dipddpm.core.events import Item
from dipddpm.core.methods.base import Restorer


class Transformed:
    """A restorer of a transformed case; `inverse` maps its images back."""

    def __init__(self, restorer: Restorer, inverse: Callable[[Tensor], Tensor]) -> None:
        self.restorer, self.inverse = restorer, inverse
        self.state_dict, self.load_state_dict = restorer.state_dict, restorer.load_state_dict

    def __len__(self) -> int:
        return len(self.restorer)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.restorer)

    @property
    def images(self) -> Tensor:
        """The restoration, (N, C, H, W)."""
        return self.inverse(self.restorer.images)

    @property
    def spread(self) -> Tensor | None:
        """The standard deviation of the results, mapped back by the slope of the inverse at the restoration."""
        spread = self.restorer.spread
        if spread is None:
            return None
        images = self.restorer.images
        return (self.inverse(images + spread) - self.inverse(images - spread)).abs() / 2

    @property
    def nfe(self) -> int:
        """Evaluations of the diffusion network for each image."""
        return self.restorer.nfe

    @property
    def iterations(self) -> int:
        """Optimiser steps for each image."""
        return self.restorer.iterations
