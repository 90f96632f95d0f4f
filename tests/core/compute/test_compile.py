from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from dipddpm.core.compute.compile import compile_network
from dipddpm.core.config import DdpmConfig
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import solver

pytestmark = pytest.mark.slow


def test_compile_network_returns_copies_later_calls_leave_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in for torch.compile writes every result to the same buffer, as CUDA graphs do."""
    buffer = torch.zeros(3)
    monkeypatch.setattr(torch, "compile", lambda network, **_: lambda x: buffer.copy_(network(x)))
    double = compile_network(nn.Linear(3, 3))
    first = double(torch.ones(3))
    before = first.clone()
    double(torch.zeros(3))
    assert torch.equal(first, before)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_network_has_same_outputs_and_gradients() -> None:
    """Compile torch's own kernels for a tiny network, because the compile time grows with the number of layers."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU())
    x = torch.randn(2, 1, 8, 8)
    results = []
    for forward in (network, compile_network(network)):
        network.zero_grad()
        y = forward(x)
        y.square().sum().backward()
        results.append([y.detach(), *(parameter.grad for parameter in network.parameters())])
    torch.testing.assert_close(results[1], results[0])


def test_compiled_model_gives_same_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace the real model but compile no kernels, which takes long; the test above covers the kernels."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **_: compiler(network, dynamic=False, backend="aot_eager"))
    torch.manual_seed(0)
    network = UNet((1, 8, 8), channels=(8,)).eval()
    nn.init.normal_(next(reversed(list(network.parameters()))))
    options = DdpmConfig(network="unet", timesteps=50)
    model = TrainedModel(network, Schedule.from_config(options), options, torch.device("cpu"))

    def samples(model: TrainedModel) -> torch.Tensor:
        denoiser = model.denoiser()
        denoiser.batch_size = 4  # more than one part, the last one smaller
        sampling = Sampling(denoiser, solver("dpm++"), (6, 1, 8, 8), steps=5, seed=1)
        list(sampling)
        return sampling.xt

    fast = model.compiled()
    assert fast.shape == (1, 8, 8)
    torch.testing.assert_close(samples(fast), samples(model), rtol=0, atol=1e-4)
