from __future__ import annotations

import pytest
import torch

from benchmarks import convolutions
from dipddpm.core.dip.networks import PriorConv2d


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
@pytest.mark.parametrize("priors", [1, 3])
def test_batched_convolution_matches_layer_and_its_gradients(stride: int, size: tuple[int, int], priors: int) -> None:
    torch.manual_seed(0)
    layer = PriorConv2d(priors, 5, 4, stride=stride)
    torch.nn.init.normal_(layer.weight)  # different weights for each prior
    x = torch.randn(1, priors * 5, *size, requires_grad=True)
    results = []
    for convolve in (layer, lambda x: convolutions.batched(layer, x)):
        y = convolve(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, layer.weight, layer.bias])))
    for grouped, batched in zip(*results, strict=True):
        torch.testing.assert_close(batched, grouped, rtol=1e-4, atol=1e-3)


def test_convolving_measures_both_implementations_on_same_images() -> None:
    works = list(convolutions.convolving(torch.device("cpu")))
    assert [work.name for work in works[:2]] == ["grouped, 1 image", "batched product, 1 image"]
    assert [work.units for work in works[::2]] == [work.units for work in works[1::2]]
    works[1].run()
