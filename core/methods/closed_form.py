"""A restorer for methods that compute their result by a formula, in a single step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from dipddpm.core.degrade.case import Case
from dipddpm.core.events import Item, StateDict, Step


class ClosedFormRestorer:
    """A method that computes its restoration by a formula, in a single step."""

    nfe = 0
    iterations = 0
    spread = None

    def __init__(self, case: Case, formula: Callable[[Case], Tensor]) -> None:
        self.case = case
        self.formula = formula
        self.images = torch.zeros(case.shape, device=case.y.device)
        """The restoration (N, C, H, W), in [0, 1] but not clipped; zeros before the step."""
        self.done = False

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Item]:
        if not self.done:
            self.images = self.formula(self.case)
            self.done = True
            yield Step(step=1)

    def state_dict(self) -> dict[str, Any]:
        """Return the images, and whether they have been computed."""
        return {"images": self.images, "done": self.done}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned."""
        self.images, self.done = state["images"], state["done"]
