from __future__ import annotations

import pytest
import torch

from benchmarks import convolutions
from dipddpm.core.dip.networks import PriorConv2d


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
@pytest.mark.parametrize("priors", [1, 3])
def test_batched_equals_the_layer_with_its_gradients(stride: int, size: tuple[int, int], priors: int) -> None:
    torch.manual_seed(0)
    layer = PriorConv2d(priors, 5, 4, stride=stride)
    torch.nn.init.normal_(layer.weight)  # each prior its own
    x = torch.randn(1, priors * 5, *size, requires_grad=True)
    results = []
    for way in (layer, lambda x: convolutions.batched(layer, x)):
        y = way(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, layer.weight, layer.bias])))
    for grouped, batched in zip(*results, strict=True):
        torch.testing.assert_close(batched, grouped, rtol=1e-4, atol=1e-3)


def test_convolving_measures_both_ways_on_the_same_images() -> None:
    found = list(convolutions.convolving(torch.device("cpu")))
    assert [work.name for work in found[:2]] == ["grouped, 1 image", "batched product, 1 image"]
    assert [work.units for work in found[::2]] == [work.units for work in found[1::2]]
    found[1].run()
