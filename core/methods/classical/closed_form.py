"""A method that restores in one step, by a formula."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from dipddpm.core.degrade.case import Case
from dipddpm.core.events import Item, StateDict, Step


class ClosedFormRestorer:
    """A method in one step, which a formula gives."""

    nfe = 0
    iterations = 0

    def __init__(self, case: Case, formula: Callable[[Case], Tensor]) -> None:
        self.case = case
        self.formula = formula
        self.images = torch.zeros(case.shape, device=case.y.device)
        """(N, C, H, W), in [0, 1] but not clipped."""
        self.done = False

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Item]:
        if not self.done:
            self.images = self.formula(self.case)
            self.done = True
            yield Step(step=1)

    def state_dict(self) -> dict[str, Any]:
        """The result, where there is one."""
        return {"images": self.images, "done": self.done}

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        self.images, self.done = state["images"], state["done"]
