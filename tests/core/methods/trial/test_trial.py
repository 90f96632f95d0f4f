"""Test the trial of candidates on a part of the measurements of one picture."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import msgspec
import pytest
import torch
from torch import Tensor

from dipddpm.core.degrade.case import Case
from dipddpm.core.errors import UserError
from dipddpm.core.events import Item, Message, MethodTried, Step
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.closed_form import ClosedFormRestorer
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.trial import Trial
from tests.core.methods.cases import SMALL, case, shapes
from tests.core.steps import count_steps, until_step

TRUTH = shapes(2, size=32)
TASKS = [
    "denoise:sigma=25",
    "denoise:noise=poisson,photons=40",
    "denoise:noise=salt-and-pepper",
    "inpaint:missing=0.4,sigma=5",
    "inpaint:box=12",
    "superres:factor=2",
    "deblur:width=1,sigma=3",
]


def closed(formula: Callable[[Case], Tensor]) -> Callable[[Case], Restorer]:
    return lambda each: ClosedFormRestorer(each, formula)


def pinv(each: Case) -> Tensor:
    return each.degradation.operator.pinv(each.y)


def grey(each: Case) -> Tensor:
    return torch.full(each.shape, each.y.mean().item())


def broken(each: Case) -> Tensor:
    return torch.full(each.shape, torch.nan)


def refused(each: Case) -> Restorer:
    raise UserError("It doesn't suit.", "")


def dip(each: Case) -> Restorer:
    return DipRestorer(each, msgspec.structs.replace(SMALL, iterations=2))


MAKERS = {"pinv": closed(pinv), "broken": closed(broken), "refused": refused, "dip": dip, "grey": closed(grey)}


@pytest.mark.parametrize("task", TASKS)
def test_trial_counts_steps_and_leaves_out_failures(task: str) -> None:
    trial = Trial(case(task, TRUTH), MAKERS, time.perf_counter)
    items = list(trial)
    steps = [item.step for item in items if isinstance(item, Step)]
    assert steps == sorted(set(steps)) and steps[-1] == len(trial) == trial.step
    tried = [item for item in items if isinstance(item, MethodTried)]
    assert [item.method for item in tried][:5] == list(MAKERS)
    assert [item.method for item in tried if item.chosen] == [trial.best] == [tried[-1].method]
    assert {item.method for item in tried if item.held_out is None} == {"broken", "refused"}
    assert sum(isinstance(item, Message) and "left out" in item.text for item in items) == 2
    assert isinstance(items[-1], Step)


@pytest.mark.parametrize("task", TASKS[::3])
def test_trial_resumes_exactly_after_each_step(task: str) -> None:
    def make() -> Trial:
        return Trial(case(task, TRUTH), MAKERS, lambda: 0.0)

    whole, resumed = make(), make()
    expected, items = list(whole), list[Item]()
    for _ in range(count_steps(expected)):
        items += until_step(resumed, 1)
        state, resumed = copy.deepcopy(resumed.state_dict()), make()
        resumed.load_state_dict(state)
    assert items + list(resumed) == expected
    assert resumed.best == whole.best
    assert whole.images is not None and resumed.images is not None
    torch.testing.assert_close(resumed.images, whole.images, rtol=0, atol=0)


def test_trial_without_usable_candidate_is_refused() -> None:
    with pytest.raises(UserError, match="It doesn't suit"):
        list(Trial(case("denoise:sigma=25", TRUTH), {"refused": refused}, time.perf_counter))
