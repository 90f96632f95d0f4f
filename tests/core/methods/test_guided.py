from __future__ import annotations

import msgspec
import pytest
import torch

from dipddpm.core.config import DipConfig
from dipddpm.core.config.hybrid import Guided
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.degrade import Degradation, GaussianNoise, Identity
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.guided import Guide, GuidedRestorer
from dipddpm.core.metrics.image import psnr
from tests.core.ddpm.ideal import Gaussian
from tests.core.methods.cases import SCHEDULE, SMALL, assert_resumes_exactly, case, ideal_prior, shapes

TRUTH = shapes(3)


@pytest.mark.parametrize("task", ["inpaint:missing=0.5,sigma=5", "denoise:noise=salt-and-pepper", "superres"])
def test_guided_restorer_without_weight_is_plain_dip(task: str) -> None:
    given = case(task, TRUTH)
    guided, plain = GuidedRestorer(given, ideal_prior(TRUTH), Guided(weight=0.0), SMALL), DipRestorer(given, SMALL)
    assert list(guided) == list(plain)
    assert torch.equal(guided.images, plain.images)
    assert guided.nfe == 0


def test_guided_restorer_fills_in_from_right_prior() -> None:
    given = case("inpaint:missing=0.8,sigma=10", TRUTH)
    dip = msgspec.structs.replace(SMALL, iterations=150, stop="never", average=0.9)
    results = []
    for weight in (0.0, 0.3):
        made = GuidedRestorer(given, ideal_prior(TRUTH), Guided(weight=weight, fall=60), dip)
        list(made)
        results.append(psnr(made.images, TRUTH))
    # A few images may be pulled to another image of the prior's small data set, but not most of them.
    assert results[1].mean() > results[0].mean() + 3


def test_guide_penalty_matches_closed_form() -> None:
    """For Gaussian data x0hat is known in closed form, and so is the penalty for a given noise."""
    mean, std, level = 0.2, 0.4, 40.0
    outputs = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    options = Guided(start=level, floor=level, every=1)
    degradation = Degradation(Identity(), GaussianNoise(0.0))
    denoiser = Denoiser(Gaussian(SCHEDULE, mean, std), SCHEDULE)
    guide = Guide(denoiser, options, degradation, outputs, weight=torch.tensor([0.5, 2.0]), seed=7)
    penalty = guide(outputs, torch.arange(2))
    t = SCHEDULE.timestep(level / 255)
    f = to_model(outputs.detach())
    xt = SCHEDULE.add_noise(f, torch.randn(f.shape, generator=torch.Generator().manual_seed(7)), t)
    a = SCHEDULE.alpha_bar[t]
    x0 = mean + a.sqrt() * std**2 / (a * std**2 + 1 - a) * (xt - a.sqrt() * mean)
    # The data error in [0, 1] is a quarter of the one in model space, so the penalty must be a quarter too.
    expected = torch.tensor([0.5, 2.0]) * (f - x0).square().mean((1, 2, 3)) / 4
    torch.testing.assert_close(penalty.detach(), expected, rtol=1e-4, atol=0, check_dtype=False)
    (gradient,) = torch.autograd.grad(penalty.sum(), outputs)
    direction = torch.tensor([0.5, 2.0]).view(2, 1, 1, 1) * (f - x0) / f[0].numel()
    torch.testing.assert_close(gradient, direction, rtol=1e-4, atol=1e-6, check_dtype=False)


@pytest.mark.parametrize(("sigma", "floor"), [(10.0, 25.0), (60.0, 60.0)])
def test_guide_level_falls_to_floor_set_by_noise(sigma: float, floor: float) -> None:
    outputs = torch.full((1, 1, 4, 4), 0.5)
    timesteps: list[int] = []

    def network(xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        timesteps.append(int(t[0]))
        return torch.zeros_like(xt)

    degradation = Degradation(Identity(), GaussianNoise(sigma / 255))
    options = Guided(start=150.0, floor=25.0, fall=20, every=5)
    guide = Guide(Denoiser(network, SCHEDULE), options, degradation, outputs, weight=torch.ones(1), seed=0)
    for _ in range(40):
        guide(outputs, torch.arange(1))
    assert timesteps == sorted(timesteps, reverse=True)
    assert len(timesteps) == guide.denoiser.nfe == 8
    assert timesteps[0] == SCHEDULE.timestep(150 / 255)
    assert timesteps[-1] == timesteps[4] == SCHEDULE.timestep(floor / 255)


def test_guide_penalty_of_active_images_is_unchanged_when_others_stop() -> None:
    f = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    guide = Guide(
        ideal_prior(to_unit(f)).denoiser(), Guided(every=2), Degradation(Identity(), GaussianNoise(0.1)), f,
        weight=torch.tensor([1.0, 2.0, 3.0]), seed=0,
    )  # fmt: skip
    guide(f, torch.arange(3))
    penalty = guide(f[[0, 2]], torch.tensor([0, 2]))
    assert penalty.shape == (2,)
    target = guide.target
    assert target is not None
    expected = torch.tensor([1.0, 3.0]) / 4 * (to_model(f[[0, 2]]) - target[[0, 2]]).square().mean((1, 2, 3))
    torch.testing.assert_close(penalty, expected)


def test_guided_restorer_resumes_exactly() -> None:
    dip: DipConfig = msgspec.structs.replace(SMALL, iterations=40)
    given, prior = case("denoise:sigma=60", TRUTH), ideal_prior(TRUTH)
    assert_resumes_exactly(lambda: GuidedRestorer(given, prior, Guided(fall=20, every=3), dip), [0, 1, 7, 30])
