from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dipddpm.core.methods.calibrated.stacking import prefer_leader, select_leading, spread_samples

Rule: TypeAlias = Callable[[Tensor, int], Tensor]


@given(
    rows=st.lists(st.lists(st.integers(0, 20), min_size=5, max_size=5).filter(any), min_size=1, max_size=6),
    rule=st.sampled_from([select_leading, prefer_leader, spread_samples]),
)
def test_weight_rules_preserve_sum_and_zeros(rows: list[list[int]], rule: Rule) -> None:
    weights = torch.tensor(rows, dtype=torch.float32)
    weights = weights / weights.sum(1, keepdim=True)
    adjusted = rule(weights, 2)
    assert (adjusted >= 0).all() and bool((adjusted[weights == 0] == 0).all())
    torch.testing.assert_close(adjusted.sum(1), torch.ones(len(rows)))


def test_select_leading_counts_fits_together() -> None:
    weights = torch.tensor([[0.2, 0.2, 0.25, 0.15, 0.2], [0.05, 0.05, 0.5, 0.3, 0.1]])
    selected = select_leading(weights, 2)
    assert (selected[0] > 0).tolist() == [True, True, True, False, True]
    assert (selected[1] > 0).tolist() == [False, False, True, True, False]


@pytest.mark.parametrize("dip_weight", [0.2, 0.8])
def test_prefer_leader_raises_weight_of_leader(dip_weight: float) -> None:
    weights = torch.tensor([[0.25 * dip_weight, 0.75 * dip_weight, 0.0, 0.0, 1 - dip_weight]])
    fits = prefer_leader(weights, 2)[0, :2]
    assert (fits.sum().item() > dip_weight) == (dip_weight > 0.5)
    assert fits[1].item() == pytest.approx(3 * fits[0].item())


def test_prefer_leader_spreads_weight_of_samples() -> None:
    adjusted = prefer_leader(torch.tensor([[0.0, 0.0, 0.0, 0.9, 0.1]]), 2)[0]
    torch.testing.assert_close(adjusted, torch.tensor([0.0, 0.0, 0.0, 0.75, 0.25]))


def test_spread_samples_leaves_fits_unchanged() -> None:
    adjusted = spread_samples(torch.tensor([[0.2, 0.3, 0.0, 0.45, 0.05]]), 2)[0]
    torch.testing.assert_close(adjusted, torch.tensor([0.2, 0.3, 0.0, 0.375, 0.125]))
