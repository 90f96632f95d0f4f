"""Tests of the fit of a diffusion network's noise: the optimum for Gaussian data, the sphere, selection and resumes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor

from dipddpm.core import config as configs
from dipddpm.core.config import DdpmConfig, parse_task
from dipddpm.core.config.hybrid import NoiseFit
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.degrade.case import Case
from dipddpm.core.errors import UserError
from dipddpm.core.experiments.restore.methods import _hybrid
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.methods import noise_fit
from dipddpm.core.methods.noise_fit import NoiseFitRestorer
from dipddpm.core.metrics.image import psnr
from tests.core.ddpm.ideal import Gaussian
from tests.core.methods.cases import SCHEDULE, SMALL, assert_resumes_exactly, case, ideal_prior, shapes

MEAN, STD = 0.1, 0.4
TRUTH = shapes(3)


def gaussian_prior(schedule: Schedule = SCHEDULE) -> TrainedModel:
    """Return the ideal model of data that are N(MEAN, STD^2) in every pixel."""
    return TrainedModel(Gaussian(schedule, MEAN, STD), schedule, DdpmConfig(), torch.device("cpu"))


def fit(given: Case, prior: TrainedModel, **options: Any) -> NoiseFitRestorer:
    return NoiseFitRestorer(given, prior, NoiseFit(**options), SMALL)


def affine_map(times: list[int]) -> tuple[float, float]:
    """Return the c and b with which DDIM maps z to x = c z + b in model space, for Gaussian data.

    Its steps scale the difference of xt and the marginal's mean, since both x0 and eps are linear in it.
    """
    scale, first = 1.0, SCHEDULE.alpha_sigma(times[0])
    for t, t_next in zip(times, [*times[1:], -1], strict=True):
        (a, s), (a_to, s_to) = SCHEDULE.alpha_sigma(t), SCHEDULE.alpha_sigma(t_next)
        scale *= (a_to * a * STD**2 + s_to * s) / (a**2 * STD**2 + s**2)
    return scale, MEAN - scale * first[0] * MEAN


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_noise_fit_reaches_the_known_optimum_on_the_sphere(steps: int) -> None:
    """If y is too bright for any z on the sphere, the best z points to it, and is 0 where nothing is fitted."""
    y = to_unit(MEAN + 3 * torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0)))
    given = case("denoise:sigma=0", y)
    made = fit(given, gaussian_prior(), steps=steps, fits=2, iterations=400, lr=0.05, best=400)
    list(made)
    assert made.times == [round(1000 * (1 - i / (steps + 1))) - 1 for i in range(1, steps + 1)]
    c, b = affine_map(made.times)
    direction = (to_model(y).repeat(2, 1, 1, 1) - b) * made.fitted
    norms = direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert (norms > c * 6).all()
    torch.testing.assert_close(made.restored, to_unit(b + c * 6 * direction / norms), rtol=0, atol=2e-3)


def test_noise_fit_reproduces_reachable_measurements() -> None:
    """If the sphere has a z for the fitted values, they are reproduced; what isn't fitted takes the norm left over."""
    y = to_unit(MEAN + 0.05 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    made = fit(case("inpaint:missing=0.5", y), gaussian_prior(), fits=2, iterations=400, lr=0.05, best=400)
    list(made)
    difference = (made.restored - y.repeat(2, 1, 1, 1)) * made.fitted
    assert float(difference.abs().max()) < 2e-3
    assert float(made.hidden.sum()) == 2 * 2 * 3  # a tenth of 32 values, in two fits of two images


@pytest.mark.parametrize("shape", [(1, 1, 5, 9), (3, 3, 8, 8)])
@pytest.mark.parametrize("iterations", [1, 3])
def test_noise_has_the_norm_of_standard_normal_noise(shape: tuple[int, int, int, int], iterations: int) -> None:
    made = fit(case("denoise:sigma=25", torch.rand(shape)), gaussian_prior(), iterations=iterations, lr=0.5)
    expected = torch.full((4 * shape[0],), shape[1] * shape[2] * shape[3], dtype=torch.float32)
    torch.testing.assert_close(made.z.detach().square().sum((1, 2, 3)), expected)
    before = made.z.detach().clone()
    list(made)
    torch.testing.assert_close(made.z.detach().square().sum((1, 2, 3)), expected)
    assert not torch.allclose(before, made.z)


@pytest.mark.parametrize(
    "task",
    [
        "inpaint:missing=0.7,sigma=5",
        "inpaint:box=5,noise=salt-and-pepper,hit=0.05",
        "superres:factor=4,sigma=2",
        "superres:factor=8",
        "deblur:sigma=2",
        "denoise:sigma=50,blind=true",
        "denoise:noise=poisson,photons=20",
        "denoise:noise=salt-and-pepper,hit=0.2",
    ],
)
def test_noise_fit_restores_every_task_from_a_prior_that_knows_the_images(task: str) -> None:
    given = case(task, TRUTH)
    made = fit(given, ideal_prior(torch.cat([TRUTH, shapes(9, seed=1)])), iterations=60)
    list(made)
    pinv = given.degradation.operator.pinv(given.y)
    assert psnr(made.images, TRUTH).mean() > psnr(pinv, TRUTH).mean() + 1
    assert (made.nfe, made.iterations) == (60 * 4 * 2, 60 * 4)


class Recorded(NoiseFitRestorer):
    """A fit that stores all its iterates and their held-out errors."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.iterates: list[Tensor] = []
        self.errors: list[Tensor] = []

    def _record(self, images: Tensor, held_out: Tensor, rows: list[int]) -> None:
        super()._record(images, held_out, rows)
        self.iterates.append(images)
        self.errors.append(held_out)


@pytest.mark.parametrize("best", [1, 7, 100])
def test_noise_fit_returns_latest_of_best_iterates(best: int) -> None:
    given = case("denoise:sigma=50", TRUTH)
    options = NoiseFit(iterations=40, best=best, lr=0.1, fits=2)
    made = Recorded(given, ideal_prior(shapes(9, seed=1)), options, SMALL)
    list(made)
    errors = torch.stack(made.errors)
    for index in range(6):
        by_error = sorted(range(40), key=lambda step: float(errors[step, index]))
        assert torch.equal(made.restored[index], made.iterates[max(by_error[:best])][index])
    assert len({round(float(value), 6) for value in errors.flatten()}) > 100
    torch.testing.assert_close(made.images, (made.restored[:3] + made.restored[3:]) / 2)
    assert made.spread is not None
    torch.testing.assert_close(made.spread, (made.restored[:3] - made.restored[3:]).abs() / 2**0.5)


def test_noise_fit_is_not_fitted_to_held_out_values() -> None:
    given, prior = case("inpaint:missing=0.5,sigma=5", TRUTH), gaussian_prior()
    first = fit(given, prior, iterations=5, fits=2)
    other = fit(replace(given, y=given.y + 9 * first.hidden[:3]), prior, iterations=5, fits=2)
    list(first), list(other)
    assert torch.equal(first.z[:3], other.z[:3])
    assert not torch.allclose(first.z[3:], other.z[3:])
    assert float((first.hidden[:3] * first.hidden[3:]).sum()) == 0
    assert float((first.hidden * first.fitted).sum()) == 0


def test_noise_fit_of_an_image_does_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_fit, "BATCH", 4)
    given, prior = case("inpaint:missing=0.6,sigma=5", TRUTH), ideal_prior(shapes(9, seed=1))
    together = fit(given, prior, iterations=20)
    list(together)
    alone = fit(Case(given.y[1:2], given.degradation.select([1]), (1, 1, 12, 12), given.seed), prior, iterations=20)
    list(alone)
    torch.testing.assert_close(alone.images[0], together.images[1], rtol=0, atol=1e-4)
    assert not torch.allclose(together.images[0], together.images[1], atol=0.01)


def test_noise_fit_resumes_exactly() -> None:
    given, prior = case("inpaint:missing=0.6,sigma=5", TRUTH), ideal_prior(shapes(5, seed=1))
    options = NoiseFit(iterations=12, fits=2, best=3)
    assert_resumes_exactly(lambda: NoiseFitRestorer(given, prior, options, SMALL), [0, 1, 5, 11, 12])


def test_single_fit_has_no_spread() -> None:
    made = fit(case("denoise:sigma=25", TRUTH), gaussian_prior(), fits=1, iterations=2)
    list(made)
    assert made.spread is None and made.nfe == 4


def test_noise_fit_refuses_more_steps_than_timesteps_and_too_many_folds() -> None:
    short = Schedule.from_config(DdpmConfig(timesteps=3))
    with pytest.raises(UserError, match="over 3 timesteps"):
        fit(case("denoise:sigma=25", TRUTH), gaussian_prior(short), steps=3)
    with pytest.raises(UserError, match="5 fits that each hold out"):
        configs.build("hybrid", method="noise-fit", settings={"hybrid.fits": 5, "hybrid.held_out": 0.3})


def test_noise_fit_is_experimental_and_knows_the_prior_alone() -> None:
    config = configs.build("hybrid", method="noise-fit", settings={"hybrid.lr": 0.02})
    assert msgspec.structs.asdict(config.hybrid)["lr"] == 0.02  # type: ignore[union-attr]
    assert NoiseFit.experimental
    assert _hybrid("noise-fit").knows(parse_task("denoise:sigma=25")) == ("trained prior",)
