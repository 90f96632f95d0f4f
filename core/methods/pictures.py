"""The methods that restore given pictures, by name, each as a factory that builds its restorer for a case."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dipddpm.core.config import DipConfig
from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.config.picture import PICTURE_METHODS
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.stabilize import stabilize
from dipddpm.core.errors import UserError
from dipddpm.core.events import Item, StateDict, Step
from dipddpm.core.methods.base import Restorer, hybrid_restorer
from dipddpm.core.methods.classical.pictures import task_of
from dipddpm.core.methods.classical.table import CLASSICS
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.patch_prior import PatchPriorRestorer
from dipddpm.core.methods.transformed import Transformed
from dipddpm.core.methods.trial import perturbed

RestorerFactory: TypeAlias = Callable[[Case], Restorer]
NETWORK_METHODS = ("dip", "patch-prior", "calibrated")
PERTURBED = 2
"""The number of perturbed measurements from which a classic method is repeated to measure its spread."""


@dataclass(frozen=True)
class PictureMethods:
    """The methods, with the model and the options that they need."""

    prior: TrainedModel | None
    """The model of patches; None if no method needs it."""
    dip: DipConfig
    restarts: int = 1
    """The number of DIP fits that are averaged."""

    def candidates(self, case: Case) -> list[str]:
        """Return the methods that `auto` tries on a case: those that suit its task and noise and are installed."""
        return [
            name
            for name, facts in PICTURE_METHODS.items()
            if task_of(case.degradation.operator) in facts.automatic
            and (name in CLASSICS or name in NETWORK_METHODS)
            and not unsuitable(name, case)
            and (not facts.extra or _installed(facts.extra))
        ]

    def maker(self, name: str, *, with_spread: bool = True) -> RestorerFactory:
        """Return the factory of a method; without `with_spread`, nothing is repeated to measure the spread.

        A restorer raises UserError for a case that the method doesn't support.
        """
        restarts = self.restarts if with_spread else 1

        def make(case: Case) -> Restorer:
            if problem := unsuitable(name, case):
                raise UserError(problem, "Choose another method, or auto.")
            if name in CLASSICS:
                return ClassicRestorer(case, CLASSICS[name].restore, PERTURBED if with_spread else 0)
            case, inverse = stabilize(case)
            if name == "patch-prior":
                assert self.prior is not None
                return Transformed(PatchPriorRestorer(case, self.prior, with_spread=with_spread), inverse)
            if name == "dip":
                return Transformed(DipRestorer(case, self.dip, restarts=restarts), inverse)
            assert name == "calibrated"
            return Transformed(hybrid_restorer(case, self.prior, Calibrated(), self.dip), inverse)

        return make


def unsuitable(name: str, case: Case) -> str:
    """Return a sentence if a method can't restore a case; empty if it can."""
    task, noise = task_of(case.degradation.operator), case.degradation.noise.kind
    supported = CLASSICS[name].supports(task, noise) if name in CLASSICS else task in PICTURE_METHODS[name].tasks
    return "" if supported else f"The method {name} doesn't restore {task} with {noise} noise."


class ClassicRestorer:
    """A classic method, whose spread is measured by restoring slightly perturbed measurements too."""

    nfe = 0
    iterations = 0

    def __init__(self, case: Case, restore: Callable[[Case], Tensor], draws: int) -> None:
        self.case, self.restore, self.draws = case, restore, draws
        self.results: list[Tensor] = []
        """The restoration, then those of perturbed measurements."""

    def __len__(self) -> int:
        return 1 + self.draws

    def __iter__(self) -> Iterator[Item]:
        while len(self.results) < len(self):
            draw = len(self.results)
            self.results.append(self.restore(perturbed(self.case, draw) if draw else self.case))
            yield Step(step=len(self.results))

    @property
    def images(self) -> Tensor:
        """The restoration, (N, C, H, W); zeros before the first step."""
        return self.results[0] if self.results else torch.zeros(self.case.shape, device=self.case.y.device)

    @property
    def spread(self) -> Tensor | None:
        """The root mean square difference of restorations of perturbed measurements from the restoration."""
        if len(self.results) < 2:
            return None
        return torch.stack([each - self.results[0] for each in self.results[1:]]).square().mean(0).sqrt()

    def state_dict(self) -> dict[str, Any]:
        """Return the results so far."""
        return {"results": list(self.results)}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned."""
        self.results = list(state["results"])


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
