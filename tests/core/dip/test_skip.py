from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipddpm.core import registry
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DipConfig
from dipddpm.core.dip.networks import SkipNetwork, max_scales


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 45), st.integers(3, 45), st.booleans())
def test_skip_network_preserves_any_image_size(height: int, width: int, bilinear: bool) -> None:
    network = SkipNetwork(
        4,
        3,
        max_scales(height, width),
        channels=4,
        skip_channels=2,
        upsampling="bilinear" if bilinear else "nearest",
        priors=2,
    )
    images = network(torch.rand(2, 4, height, width))
    assert images.shape == (2, 3, height, width)
    assert torch.isfinite(images).all()
    assert ((images >= 0) & (images <= 1)).all()


@pytest.mark.parametrize(
    ("size", "scales"), [((28, 28), 3), ((32, 32), 3), ((512, 512), 7), ((5, 400), 1), ((4, 4), 0)]
)
def test_max_scales_keeps_three_pixels(size: tuple[int, int], scales: int) -> None:
    assert max_scales(*size) == scales
    network = SkipNetwork.for_images((1, *size), DipConfig(scales=5, channels=4))
    assert network.arguments["scales"] == min(5, scales)


@pytest.mark.parametrize(("channels", "skip_channels"), [(6, 0), (6, 3), (18, 2)])
def test_skip_network_keeps_priors_independent(channels: int, skip_channels: int) -> None:
    """Each of three priors has the outputs and gradients of a network of its own."""
    network = SkipNetwork(4, 2, 2, channels=channels, skip_channels=skip_channels, priors=3).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    z = torch.rand(3, 4, 13, 14, dtype=torch.float64)
    images = network(z)
    (images * torch.arange(1, 4).view(3, 1, 1, 1)).square().sum().backward()
    for i in range(3):
        alone = SkipNetwork(4, 2, 2, channels=channels, skip_channels=skip_channels).double()
        for single, grouped in zip(alone.parameters(), network.parameters(), strict=True):
            single.data = grouped.data.chunk(3)[i].clone()
        image = alone(z[i : i + 1])
        assert torch.allclose(image[0], images[i], atol=1e-12)
        (image * (i + 1)).square().sum().backward()
        for single, grouped in zip(alone.parameters(), network.parameters(), strict=True):
            assert single.grad is not None
            assert grouped.grad is not None
            assert torch.allclose(single.grad, grouped.grad.chunk(3)[i], atol=1e-10)


def test_skip_network_shares_one_input_among_priors() -> None:
    network = SkipNetwork(4, 1, 2, channels=8, priors=3)
    z = torch.rand(1, 4, 12, 12)
    assert torch.allclose(network(z), network(z.expand(3, -1, -1, -1)), atol=1e-6)


def test_skip_network_priors_start_from_same_weights() -> None:
    images = SkipNetwork(4, 1, 2, channels=8, priors=3)(torch.rand(1, 4, 12, 12))
    assert torch.allclose(images[0], images[2], atol=1e-6)


def test_skip_network_treats_images_of_batch_independently() -> None:
    network = SkipNetwork(1, 1, 3, channels=8, sigmoid=False)
    images = torch.randn(5, 1, 28, 28)
    assert torch.allclose(network(images)[2:3], network(images[2:3]), atol=1e-5)


def test_skip_network_round_trips_through_checkpoint(tmp_path: Path) -> None:
    network = SkipNetwork(4, 1, 2, channels=8, upsampling="nearest", priors=2)
    assert registry.network("skip") is SkipNetwork
    path = tmp_path / "best.safetensors"
    checkpoint.save(path, {}, network)
    z = torch.rand(1, 4, 9, 9)
    assert torch.equal(checkpoint.load(path)(z), network(z))
