from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dipddpm.core.dip.stopping import MovingVariance, StopInput, Stopping, discrepancy, held_out, never

SHAPE = torch.Size((3, 1, 4, 5))


def at(
    step: int, output: Tensor, residual: list[float] | None = None, held_out_error: list[float] | None = None
) -> StopInput:
    error = None if held_out_error is None else torch.tensor(held_out_error)
    residuals = torch.tensor(residual or [1.0] * len(output))
    return StopInput(step, torch.arange(len(output)), output, output + 1, residuals, error)


def walk(steps: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, *SHAPE, generator=generator).cumsum(0) * 0.1 + 0.5


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(2, 40), st.integers(0, 2**32))
def test_moving_variance_matches_definition(window: int, steps: int, seed: int) -> None:
    outputs = walk(steps, seed)
    rule = MovingVariance(SHAPE, window, "cpu")
    for t in range(steps):
        score = rule(at(t + 1, outputs[t]))
        if t + 1 < window:
            assert torch.isinf(score).all()
            continue
        recent = outputs[t + 1 - window : t + 1].double()
        naive = (recent - recent.mean(0)).square().mean(0).flatten(1).mean(1)
        assert torch.allclose(score.double(), naive, rtol=1e-5, atol=1e-9)


def test_stopping_stores_best_output_of_each_image_separately() -> None:
    scores = torch.tensor([[5.0, 5, 5], [4, 6, 4], [3, 6, 6], [4, 6, 3], [4, 6, 2], [1, 1, 1]])
    stopping = Stopping(held_out, SHAPE, patience=3, device="cpu")
    for step, score in enumerate(scores, start=1):
        stopping.update(at(step, torch.full(SHAPE, float(step)), held_out_error=score.tolist()))
    # The second image stopped at iteration 4, before its better score at 6; the others were still active then.
    assert stopping.best_iteration.tolist() == [6, 1, 6]
    assert stopping.stopped_at.tolist() == [0, 4, 0]
    assert stopping.best.tolist() == [1, 5, 1]
    assert stopping.restored[:, 0, 0, 0].tolist() == [7, 2, 7]


def test_discrepancy_stops_at_residual_of_noise() -> None:
    stopping = Stopping(discrepancy(torch.tensor([0.01, 0.02, 0.001])), SHAPE, patience=100, device="cpu")
    for step, residual in enumerate([0.05, 0.02, 0.01, 0.005], start=1):
        stopping.update(at(step, torch.full(SHAPE, float(step)), residual=[residual] * 3))
    assert stopping.stopped_at.tolist() == [3, 2, 0]
    assert stopping.best_iteration.tolist() == [3, 2, 4]
    assert stopping.restored[:, 0, 0, 0].tolist() == [4, 3, 5]


def test_never_rule_returns_last_output() -> None:
    stopping = Stopping(never, SHAPE, patience=1, device="cpu")
    for step in range(1, 6):
        stopping.update(at(step, torch.full(SHAPE, float(step))))
    assert stopping.best_iteration.tolist() == [5, 5, 5]
    assert stopping.stopped_at.tolist() == [0, 0, 0]


def test_stopping_never_takes_nan_as_best() -> None:
    stopping = Stopping(held_out, SHAPE, patience=10, device="cpu")
    for step, score in enumerate([float("nan"), 3.0, float("nan"), 4.0], start=1):
        stopping.update(at(step, torch.full(SHAPE, float(step)), held_out_error=[score] * 3))
    assert stopping.best_iteration.tolist() == [2, 2, 2]


@pytest.mark.parametrize("cut", [3, 11])
def test_stopping_resumes_exactly(cut: int) -> None:
    outputs = walk(20, 1)

    def fresh() -> Stopping:
        return Stopping(MovingVariance(SHAPE, 5, "cpu"), SHAPE, patience=100, device="cpu")

    whole, first, second = fresh(), fresh(), fresh()
    for t in range(20):
        whole.update(at(t + 1, outputs[t]))
    for t in range(cut):
        first.update(at(t + 1, outputs[t]))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for t in range(cut, 20):
        second.update(at(t + 1, outputs[t]))
    assert torch.equal(second.restored, whole.restored)
    assert torch.equal(second.best, whole.best)
    assert torch.equal(second.best_iteration, whole.best_iteration)
