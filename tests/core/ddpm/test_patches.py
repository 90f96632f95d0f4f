"""Tests of the patch denoiser, against the plain network, naive sums and a Wiener filter that is computed here."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dipddpm.core.config import DdpmConfig
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.patches import PatchDenoiser
from dipddpm.core.ddpm.schedule import Schedule

SCHEDULE = Schedule.from_config(DdpmConfig(schedule="cosine"))
PATCH = (3, 8, 8)


class Recorder:
    """A network that predicts x0 = xt, and records the inputs that it got."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.times: list[Tensor] = []

    def __call__(self, xt: Tensor, t: Tensor) -> Tensor:
        self.inputs.append(xt)
        self.times.append(t)
        return xt


def patchwise(network: object, *, shape: tuple[int, int, int] = PATCH, batch_size: int = 64) -> PatchDenoiser:
    return PatchDenoiser(network, SCHEDULE, objective="x0", shape=shape, batch_size=batch_size)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 29), st.integers(1, 29), st.integers(0, 999), st.sampled_from([1, 3, 64]))
def test_overlapping_patches_of_identity_blend_to_the_picture(height: int, width: int, t: int, batch_size: int) -> None:
    xt = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(height * width))
    network = Recorder()
    denoiser = patchwise(network, batch_size=batch_size)
    x0, eps = denoiser(xt, t)
    assert torch.allclose(x0, xt, atol=1e-5)
    assert torch.allclose(SCHEDULE.add_noise(x0, eps, t), xt, atol=1e-4)
    assert denoiser.nfe == 1
    assert max(len(patches) for patches in network.inputs) <= batch_size
    assert {patches.shape[2:] for patches in network.inputs} == {(min(8, height), min(8, width))}


def test_picture_of_one_patch_is_denoised_like_by_the_network() -> None:
    torch.manual_seed(0)
    network = UNet((3, 16, 16), channels=(8, 16), attention=0)
    nn.init.normal_(network.out.weight, std=0.1)
    network.eval()
    xt, t = torch.randn(2, 3, 16, 16), torch.tensor([30, 400])
    plain = Denoiser(network, SCHEDULE, objective="v", clip=True)(xt, t)
    blended = PatchDenoiser(network, SCHEDULE, objective="v", clip=True, shape=(3, 16, 16))(xt, t)
    for one, other in zip(plain, blended, strict=True):
        assert torch.allclose(one, other, atol=2e-5)


def test_estimates_do_not_depend_on_other_images_of_the_batch() -> None:
    xt, t = torch.randn(3, 1, 13, 9), torch.tensor([20, 300, 700])
    denoiser = patchwise(lambda x, _: x.tanh(), batch_size=5)
    together = denoiser(xt, t)[0]
    alone = torch.cat([denoiser(xt[[i]], t[[i]])[0] for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("t", [5, 60, 300, 800])
def test_grey_picture_becomes_channels_of_independent_noise_whose_mean_it_is(t: int) -> None:
    clean, side = 0.3, 96
    a, s = SCHEDULE.alpha_sigma(t)
    xt = a * clean + s * torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(t))
    network = Recorder()
    patchwise(network, shape=(3, side, side))(xt, t)
    (later,) = network.times[0].unique().tolist()
    scale, level = SCHEDULE.alpha_sigma(later)
    assert level / scale == pytest.approx(3**0.5 * s / a, rel=0.05)
    assert torch.allclose(network.inputs[0].mean(1) / scale, xt[:, 0] / a, rtol=1e-4, atol=1e-5 * level / scale)
    noise = (network.inputs[0] - scale * clean).flatten(2)[0]
    covariance = noise @ noise.T / side**2 / level**2
    assert torch.allclose(covariance, torch.eye(3), atol=0.12)


def test_grey_wiener_filter_of_channels_is_that_of_the_grey_picture() -> None:
    """For grey Gaussian pixels of variance v, E[x | three channels of noise 3 s^2] = E[x | y] = y v / (v + s^2)."""
    variance, t = 0.25, 250

    def wiener(xt: Tensor, times: Tensor) -> Tensor:
        a, s = SCHEDULE.alpha_sigma(int(times[0]))
        gain = variance / (variance + (s / a) ** 2 / 3)
        return gain * (xt / a).mean(1, keepdim=True).expand_as(xt)

    generator = torch.Generator().manual_seed(1)
    x = variance**0.5 * torch.randn(4, 1, 11, 17, generator=generator)
    a, s = SCHEDULE.alpha_sigma(t)
    xt = a * x + s * torch.randn(x.shape, generator=generator)
    expected = (xt / a) * variance / (variance + (s / a) ** 2)
    assert torch.allclose(patchwise(wiener)(xt, t)[0], expected, atol=5e-3)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_planes_are_denoised_one_by_one(channels: int) -> None:
    xt = torch.randn(2, channels, 10, 12)
    denoiser = patchwise(lambda x, _: x.tanh())
    expected = torch.cat([denoiser(xt[:, [c]], 100)[0] for c in range(channels)], 1)
    assert torch.equal(denoiser(xt, 100)[0], expected)


def test_grey_model_denoises_each_plane_as_it_is() -> None:
    network = Recorder()
    xt = torch.randn(1, 3, 8, 8)
    x0, _ = patchwise(network, shape=(1, 8, 8))(xt, 500)
    assert torch.allclose(x0, xt, atol=1e-5)
    assert network.times[0].tolist() == [500] * 3


def test_gradients_flow_through_blending() -> None:
    xt = torch.randn(1, 1, 12, 12, requires_grad=True)
    patchwise(lambda x, _: 2 * x)(xt, 100)[0].sum().backward()
    assert xt.grad is not None
    assert bool((xt.grad != 0).all())
