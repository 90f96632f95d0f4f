"""The first restorations of the training images by a method that needs no network, part by part."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from dipddpm.core.config import DipConfig
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.events import Item, StateDict, Step
from dipddpm.core.methods.starts import start_restorer

PART = 50
"""Number of images in a step: kriging takes some seconds for them."""


class ClosedFormStart:
    """The restorations of all images of a case by `classic` or `pinv`, of a part of the images in each step."""

    def __init__(self, name: str, case: Case, dip: DipConfig) -> None:
        """Set up the parts. Raises UserError for a noise level that can't be estimated."""
        self.name, self.dip = name, dip
        self.case = replace(case, degradation=with_noise_level(case.y, case.degradation))
        self.results = torch.zeros(case.shape, device=case.y.device)
        """The restorations (N, C, H, W), in [0, 1] but not clipped; zero for parts that are not done."""
        self.done = 0

    def __len__(self) -> int:
        return math.ceil(len(self.results) / PART)

    def __iter__(self) -> Iterator[Item]:
        while self.done < len(self):
            indices = list(range(self.done * PART, min((self.done + 1) * PART, len(self.results))))
            restorer = start_restorer(self.name, self.case.select(indices), self.dip)
            for _ in restorer:
                pass
            self.results[indices] = restorer.images
            self.done += 1
            yield Step(step=self.done)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {"results": self.results[: self.done * PART], "done": self.done}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.results[: len(state["results"])] = state["results"]
        self.done = state["done"]
