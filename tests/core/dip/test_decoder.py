from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DipConfig
from dipddpm.core.dip.networks import DecoderNetwork


@pytest.mark.parametrize("size", [(28, 28), (29, 17), (3, 3)])
def test_decoder_network_outputs_requested_size(size: tuple[int, int]) -> None:
    network = DecoderNetwork.for_images((3, *size), DipConfig(channels=8, input_channels=5), priors=2)
    images = network(torch.rand(1, 5, *network.input_size(*size)))
    assert images.shape == (2, 3, *size)
    assert ((images >= 0) & (images <= 1)).all()


def test_decoder_network_has_fewer_weights_than_image_values() -> None:
    network = DecoderNetwork.for_images((3, 256, 256), DipConfig(scales=5, channels=128, input_channels=128))
    weights = sum(p.numel() for p in network.parameters())
    # Six 1x1 mixes of 128 to 128 channels with biases, six affine normalisations, and the head.
    assert weights == 6 * (128 * 128 + 128) + 6 * 256 + 3 * 129
    assert weights < 3 * 256 * 256


def test_decoder_network_round_trips_through_checkpoint(tmp_path: Path) -> None:
    network = DecoderNetwork(4, 1, 2, [9, 10], channels=8, priors=2)
    checkpoint.save(tmp_path / "last.safetensors", {}, network)
    z = torch.rand(1, 4, 3, 3)
    assert torch.equal(checkpoint.load(tmp_path / "last.safetensors")(z), network(z))
