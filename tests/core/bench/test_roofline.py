from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dipddpm.core.bench import roofline
from dipddpm.core.bench.roofline import Machine, WorkCost

MACHINE = Machine(device="cpu", threads=1, flops={"float32": 100.0, "bfloat16": 200.0}, bandwidth=10.0)


@settings(deadline=None, max_examples=10)
@given(m=st.integers(1, 40), k=st.integers(1, 40), n=st.integers(1, 40))
def test_roofline_cost_of_matrix_product_matches_formula(m: int, k: int, n: int) -> None:
    left, right = torch.zeros(m, k), torch.zeros(k, n)
    assert roofline.cost(lambda: left @ right) == WorkCost(2 * m * k * n, 4 * (m * k + k * n + m * n))


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_roofline_cost_of_convolution_triples_with_backward(kind: Any, groups: int) -> None:
    conv, x = kind(4, 8, 3, padding=1, bias=False, groups=groups), torch.zeros(2, 4, 10, 10)
    forward = 2 * 2 * 8 * 10 * 10 * 4 // groups * 9
    assert roofline.cost(lambda: conv(x)).flops == forward
    trainable = x.clone().requires_grad_()
    assert roofline.cost(lambda: conv(trainable).sum().backward()).flops == 3 * forward


def test_roofline_cost_of_view_is_zero() -> None:
    x = torch.zeros(4, 6)
    assert roofline.cost(lambda: x.view(6, 4).t()) == WorkCost(0, 0)


@pytest.mark.parametrize(
    ("flops", "moved", "precision", "seconds"),
    [(200, 10, "float32", 2), (200, 10, "bfloat16", 1), (1, 50, "float32", 5)],
)
def test_work_cost_seconds_at_least_takes_slower_limit(
    flops: float, moved: float, precision: str, seconds: float
) -> None:
    assert WorkCost(flops, moved).seconds_at_least(MACHINE, precision) == seconds


def test_roofline_measure_finds_rates_of_this_machine() -> None:
    machine = roofline.measure(torch.device("cpu"))
    assert machine.device == "cpu"
    assert machine.flops.keys() == {"float32", "bfloat16"}
    assert min(*machine.flops.values(), machine.bandwidth) > 1e7
