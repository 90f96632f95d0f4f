"""Calibrated restorations of a case by some of the candidates, which share one run of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from dipddpm.core.degrade.simplify import reproduce_exact
from dipddpm.core.events import Item, StateDict, TrialErrors
from dipddpm.core.methods.calibrated.method import CalibratedRestorer


class AllCandidates(CalibratedRestorer):
    """A calibrated restoration that makes every candidate again, so that all means of some of them are known."""

    def _wanted(self, kind: str) -> Tensor:
        del kind
        return torch.ones(self.case.shape[0], dtype=torch.bool, device=self.case.y.device)

    def mean_of(self, kinds: Sequence[str]) -> Tensor:
        """Return the restoration of all images by some candidates, (N, C, H, W), in [0, 1] but not clipped.

        Their weights are chosen as if there were no others. Valid once the run has ended.
        """
        means = self._combine([self._result(kind) for kind in kinds], self._stack(self._errors(kinds)))
        return reproduce_exact(means, self.case)


class PartOfCandidates:
    """The restoration by some candidates of a run, which is iterated to its end first."""

    spread = None

    def __init__(self, whole: AllCandidates, kinds: Sequence[str], seconds_before: float = 0.0) -> None:
        """Set up the part; `seconds_before` are those that the run took, if it has ended already."""
        self.whole, self.kinds, self.seconds_before = whole, kinds, seconds_before

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.whole)

    @property
    def images(self) -> Tensor:
        """The restoration (N, C, H, W), in [0, 1] but not clipped."""
        return self.whole.mean_of(self.kinds)

    @property
    def trial(self) -> TrialErrors | None:
        """The errors of all candidates at held-out measurements; None until the trial has ended."""
        return self.whole.trial

    @property
    def nfe(self) -> int:
        """Network evaluations of the whole run for one image."""
        return self.whole.nfe

    @property
    def iterations(self) -> int:
        """DIP iterations of the whole run for one image."""
        return self.whole.iterations

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the trained network; valid after a `Step`."""
        return {"whole": self.whole.state_dict(), "before": self.seconds_before}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.whole.load_state_dict(state["whole"])
        self.seconds_before = state["before"]
