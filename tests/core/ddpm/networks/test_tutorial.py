from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DdpmRun
from dipddpm.core.ddpm.networks.tutorial import TutorialNetwork
from dipddpm.core.errors import UserError


class Published:
    """The published layers, written with functional operations on contiguous tensors, with our network's weights."""

    def __init__(self, network: TutorialNetwork) -> None:
        self.weights = dict(network.named_parameters())

    def __call__(self, xt: Tensor, t: Tensor) -> Tensor:
        times = [self.time(t, i) for i in range(7)]
        one = self.stage("down.0", xt + times[0])
        two = self.stage("down.1", self.conv("shrink.0", one, 2, 1) + times[1])
        three = self.stage("down.2", self.conv("shrink.1", two, 2, 1) + times[2])
        middle = self.conv("shrink.2.2", F.silu(self.conv("shrink.2.0", three, 1, 0)), 2, 1)
        assert middle.shape[1:] == (40, 3, 3)
        middle = self.stage("middle", middle + times[3])
        middle = self.grow("grow.0.2", F.silu(self.grow("grow.0.0", middle, 2, 1)), 1, 0)
        up = self.stage("up.0", torch.cat([three, middle], 1) + times[4])
        up = self.stage("up.1", torch.cat([two, self.grow("grow.1", up, 2, 1)], 1) + times[5])
        up = self.stage("up.2", torch.cat([one, self.grow("grow.2", up, 2, 1)], 1) + times[6], last=False)
        return self.conv("out", up, 1, 1)

    def weight_and_bias(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def conv(self, name: str, x: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, *self.weight_and_bias(name), stride, padding)

    def grow(self, name: str, x: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv_transpose2d(x, *self.weight_and_bias(name), stride, padding)

    def stage(self, name: str, x: Tensor, *, last: bool = True) -> Tensor:
        for i in range(3):
            if i < 2 or last:
                scale, shift = self.weight_and_bias(f"{name}.{i}.norm")
                mean = x.mean((1, 2, 3), keepdim=True)
                variance = x.var((1, 2, 3), unbiased=False, keepdim=True)
                x = (x - mean) / (variance + 1e-5).sqrt() * scale + shift
            for convolution in ("conv1", "conv2"):
                x = F.silu(self.conv(f"{name}.{i}.{convolution}", x, 1, 1))
        return x

    def time(self, t: Tensor, stage: int) -> Tensor:
        table = torch.zeros(len(t), 100, dtype=torch.float64)
        for j in range(0, 100, 2):
            angle = t / 10_000 ** (2 * j / 100)
            table[:, j], table[:, j + 1] = angle.sin(), angle.cos()
        hidden = F.silu(F.linear(table.float(), *self.weight_and_bias(f"time.{stage}.0")))
        return F.linear(hidden, *self.weight_and_bias(f"time.{stage}.2"))[:, :, None, None]


def test_tutorial_network_has_published_size() -> None:
    network = TutorialNetwork()
    assert sum(p.numel() for p in network.parameters()) == 506_852
    assert sum(b.numel() for b in network.buffers()) == 100_000
    assert "times" in network.state_dict()
    assert not network.get_buffer("times").requires_grad


def test_tutorial_network_matches_published_output_and_gradients() -> None:
    torch.manual_seed(0)
    network = TutorialNetwork()
    for parameter in network.parameters():  # LayerNorm's initial 1 and 0 would hide a wrong order of its axes
        parameter.data += 0.05 * torch.randn_like(parameter)
    xt, t = torch.randn(3, 1, 28, 28), torch.tensor([0, 42, 999])
    ours, theirs = network(xt, t), Published(network)(xt, t)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    assert ours.std() > 1e-3
    parameters = [p for name, p in network.named_parameters() if not name.startswith("up.2.2.norm")]
    target = torch.randn_like(xt)
    for a, b in zip(
        torch.autograd.grad(F.mse_loss(ours, target), parameters),
        torch.autograd.grad(F.mse_loss(theirs, target), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_tutorial_network_leaves_last_norm_unused() -> None:
    network = TutorialNetwork()
    network(torch.randn(2, 1, 28, 28), torch.tensor([1, 2])).sum().backward()
    unused = {name for name, p in network.named_parameters() if p.grad is None}
    assert unused == {"up.2.2.norm.weight", "up.2.2.norm.bias"}


def test_tutorial_network_round_trips_through_checkpoint(tmp_path: Path) -> None:
    network = TutorialNetwork(timesteps=300).eval()
    checkpoint.save(tmp_path / "best.safetensors", {}, network)
    again = checkpoint.load(tmp_path / "best.safetensors")
    xt, t = torch.randn(2, 1, 28, 28), torch.tensor([0, 299])
    torch.testing.assert_close(again(xt, t), network(xt, t))


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 32, 32), (1, 28, 27)])
def test_tutorial_network_refuses_other_image_shapes(shape: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="28x28 grey"):
        TutorialNetwork.for_images(shape, DdpmRun())


def test_tutorial_network_without_first_norm_is_not_blind_and_round_trips(tmp_path: Path) -> None:
    network = TutorialNetwork(first_norm=False).eval()
    checkpoint.save(tmp_path / "best.safetensors", {}, network)
    again = checkpoint.load(tmp_path / "best.safetensors")
    xt, t = torch.randn(2, 1, 28, 28), torch.tensor([0, 999])
    torch.testing.assert_close(again(xt, t), network(xt, t))
    assert (network(xt + 3, t) - network(xt, t)).norm() > 1e-3 * network(xt, t).norm()
    network.down[0][0].normalize = True  # type: ignore[index]
    torch.testing.assert_close(network(xt + 3, t), network(xt, t))
