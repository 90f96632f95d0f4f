"""What hybrids are compared with, beside their parents at equal time: methods that take the time that they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor

from core import registry
from core.config import HYBRIDS, DipConfig
from core.ddpm.trained import TrainedModel
from core.events import Item, State, Step
from core.hybrid.parents import DdpmRestorer, DipRestorer
from core.hybrid.restorer import Case, Restorer
from core.restore import classics

STEPS = (10, 20, 100)
"""Evaluations of the network that the samplers are given."""
MakeFor: TypeAlias = Callable[[Case], Restorer]


class Direct:
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

    def load_state_dict(self, state: State) -> None:
        """The inverse of `state_dict`."""
        self.images, self.done = state["images"], state["done"]


def controls(prior: TrainedModel, dip: DipConfig) -> dict[str, MakeFor]:
    """By name: A+ y, a classic, DIP at its truth-free stop, and DDNM+ and DiffPIR with few and with many steps."""
    made: dict[str, MakeFor] = {
        "pinv": lambda case: Direct(case, lambda c: c.degradation.operator.pinv(c.y)),
        "classic": lambda case: Direct(case, classics.restore),
        "dip": lambda case: DipRestorer(case, dip),
    }
    for method in ("ddnm", "diffpir"):
        for steps in STEPS:
            made[f"{method}-{steps}"] = _sampler(prior, method, min(steps, len(prior.schedule)))
    return made


def hybrid(name: str, prior: TrainedModel, dip: DipConfig) -> MakeFor:
    """A hybrid with its defaults."""
    options = HYBRIDS[name]()
    method = registry.resolve(options.restorer)

    def make(case: Case) -> Restorer:
        made: Restorer = method.for_case(case, prior, options, dip)
        return made

    return make


def _sampler(prior: TrainedModel, method: str, steps: int) -> MakeFor:
    return lambda case: DdpmRestorer(case, prior, method=method, steps=steps)
