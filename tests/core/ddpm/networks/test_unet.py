from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DdpmRun, UNetConfig
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.errors import UserError


def small(shape: tuple[int, int, int] = (1, 28, 28), **options: Any) -> UNet:
    """Make a network with random weights in place of the zeros, so that every layer affects the output."""
    torch.manual_seed(0)
    network = UNet(shape, **{"channels": (8, 16)} | options)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 33), st.integers(1, 33), st.sampled_from([1, 3]), st.integers(1, 3), st.integers(1, 3))
def test_unet_preserves_any_image_shape(height: int, width: int, channels: int, patch: int, levels: int) -> None:
    network = small((channels, height, width), channels=(8, 16, 8)[:levels], patch=patch)
    xt = torch.randn(2, channels, height, width)
    assert network(xt, torch.tensor([0, 999])).shape == xt.shape


def test_unet_starts_by_predicting_zero() -> None:
    torch.manual_seed(0)
    network = UNet((1, 28, 28))
    assert network(torch.randn(2, 1, 28, 28), torch.tensor([3, 900])).abs().max() == 0


def test_unet_treats_images_of_batch_independently() -> None:
    network = small()
    xt, t = torch.randn(3, 1, 28, 28), torch.tensor([3, 400, 900])
    alone = torch.cat([network(xt[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(xt, t), alone, rtol=1e-4, atol=1e-5)


def test_unet_uses_every_weight_and_time() -> None:
    network = small(attention=2, blocks=2, classes=4)
    xt, t = torch.randn(2, 1, 28, 28), torch.tensor([3, 400])
    network(xt, t, torch.tensor([0, 1])).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert not torch.allclose(network(xt, t), network(xt, t + 50))


def test_unet_attention_reaches_across_image() -> None:
    """Without attention, a 3x3 network of this depth has a receptive field smaller than the image."""
    for attention, reaches in ((0, False), (1, True)):
        network = small((1, 64, 64), attention=attention)
        xt = torch.randn(1, 1, 64, 64, requires_grad=True)
        # Group norm depends on the whole image too, so it is removed.
        for module in list(network.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.GroupNorm):
                    setattr(module, name, nn.Identity())
        network(xt, torch.tensor([5]))[0, 0, 0, 0].backward()
        assert xt.grad is not None
        assert bool(xt.grad[0, 0, -1, -1]) is reaches


def test_unet_class_changes_prediction_and_none_means_no_class() -> None:
    network = small(classes=3)
    xt, t = torch.randn(1, 1, 28, 28), torch.tensor([100])
    outputs = [network(xt, t, torch.tensor([label])) for label in range(4)]
    assert all(not torch.allclose(outputs[0], other) for other in outputs[1:])
    assert torch.equal(network(xt, t), outputs[3])


def test_unet_round_trips_through_checkpoint(tmp_path: Path) -> None:
    network = small(classes=3, blocks=2)
    checkpoint.save(tmp_path / "best.safetensors", {}, network)
    again = checkpoint.load(tmp_path / "best.safetensors")
    assert isinstance(again, UNet)
    xt, t = torch.randn(1, 1, 28, 28), torch.tensor([100])
    assert torch.equal(again(xt, t), network(xt, t))


def test_unet_for_images_takes_size_from_config() -> None:
    network = UNet.for_images((3, 32, 32), DdpmRun(unet=UNetConfig(channels="16,24,32", blocks=2)), classes=10)
    assert network.arguments["channels"] == [16, 24, 32]
    assert network.size_multiple == 8
    assert network.classes == 10


def test_unet_refuses_channels_groups_do_not_divide() -> None:
    with pytest.raises(UserError, match="multiples of 8, not 20,30"):
        UNet.for_images((1, 28, 28), DdpmRun(unet=UNetConfig(channels="20,30")))
