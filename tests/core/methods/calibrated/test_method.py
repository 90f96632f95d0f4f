from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from dipddpm.core import config as configs
from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.errors import UserError
from dipddpm.core.events import Message, StageStarted, Step
from dipddpm.core.methods.calibrated.method import CalibratedRestorer
from dipddpm.core.metrics.image import psnr
from tests.core.methods.cases import SMALL, assert_resumes_exactly, case, ideal_prior, shapes

TRUTH = shapes(6, size=16)
DIP = msgspec.structs.replace(SMALL, iterations=60, window=20, patience=30)
FEW = Calibrated(hidden=0.2, steps=6, trial_samples=2, samples=2, restarts=2)
TASKS = [
    "denoise:sigma=25",
    "denoise:sigma=50,blind=true",
    "denoise:noise=poisson,photons=40",
    "denoise:noise=salt-and-pepper",
    "inpaint:missing=0.5,sigma=5",
    "inpaint:missing=0.3,noise=salt-and-pepper",
    "superres:factor=2",
    "superres:factor=2,noise=salt-and-pepper",
    "deblur:width=1,sigma=4",
    "deblur:width=0.6",
    "deblur:width=1,noise=salt-and-pepper",
    "denoise:sigma=0",
]


def weight_of(made: CalibratedRestorer, kind: str) -> torch.Tensor:
    """Return a candidate's weight for each image, (N,)."""
    assert made.weights is not None
    return made.weights[:, made.kinds.index(kind)]


@pytest.mark.parametrize("task", TASKS)
def test_calibrated_restores_every_kind_of_task(task: str) -> None:
    dip = msgspec.structs.replace(DIP, iterations=5)
    given = case(task, TRUTH[:2])
    made = CalibratedRestorer(given, ideal_prior(TRUTH), FEW, dip)
    steps = [item.step for item in made if isinstance(item, Step)]
    assert made.images.shape == given.shape and bool(made.images.isfinite().all())
    assert made.weights is not None and made.weights.shape == (2, len(made.kinds))
    assert steps == sorted(set(steps)) and steps[-1] <= len(made)


@pytest.mark.parametrize(
    ("task", "wanted", "iterations"),
    [
        ("denoise:sigma=50,blind=true", 0, 60),
        ("denoise:noise=salt-and-pepper", 0, 200),
        ("inpaint:missing=0.5,sigma=5", 0, 100),
        ("superres:factor=2", 0, 100),
        ("deblur:width=1,sigma=4", 0, 200),
        ("denoise:sigma=25", 150, 150),
        ("deblur:width=1,sigma=4", 1000, 500),
    ],
)
def test_task_decides_length_of_fits_unless_it_is_given(task: str, wanted: int, iterations: int) -> None:
    """A fit is never longer than the run's DIP options allow, 500 iterations here."""
    options = msgspec.structs.replace(FEW, iterations=wanted)
    dip = msgspec.structs.replace(DIP, iterations=500)
    made = CalibratedRestorer(case(task, TRUTH[:2]), ideal_prior(TRUTH), options, dip)
    assert made.stages["fit"] == made.stages["fit again"] == iterations


def test_one_candidate_of_each_image_is_left_for_large_pixels() -> None:
    """Without the rule, the weights of these images lie in between."""
    dip = msgspec.structs.replace(DIP, iterations=5)
    made = CalibratedRestorer(case("superres:factor=2", TRUTH), ideal_prior(TRUTH), FEW, dip)
    list(made)
    assert made.weights is not None
    assert torch.equal(made.weights.amax(1), torch.ones(len(TRUTH)))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["denoise:sigma=50,blind=true", "deblur", "denoise:noise=salt-and-pepper"])
def test_calibrated_trusts_only_prior_of_same_images(task: str) -> None:
    given = case(task, TRUTH)
    weights = []
    for known in (TRUTH, 1 - TRUTH):
        made = CalibratedRestorer(given, ideal_prior(known), FEW, DIP)
        list(made)
        weights.append(weight_of(made, "diffusion").mean().item())
    assert weights[0] > weights[1] + 0.3


@pytest.mark.slow
def test_calibrated_trusts_prior_per_image_in_mixed_group() -> None:
    """The prior is trained on the first images; the other ones are inverted images, which it gets wrong."""
    truth = torch.cat([TRUTH[:3], 1 - shapes(3, seed=5, size=16)])
    made = CalibratedRestorer(case("inpaint:missing=0.5,sigma=5", truth), ideal_prior(TRUTH), FEW, DIP)
    list(made)
    weight = weight_of(made, "diffusion")
    assert weight[:3].mean() > weight[3:].mean() + 0.3
    assert (psnr(made.images, truth)[:3] > 24).all()


def test_calibrated_gives_classics_most_weight_on_ramp() -> None:
    """On a ramp, DIP needs more than five iterations, and the prior is trained on other images."""
    ramp = torch.linspace(0.2, 0.8, 16).expand(2, 1, 16, 16).contiguous()
    dip = msgspec.structs.replace(DIP, iterations=5)
    made = CalibratedRestorer(case("inpaint:missing=0.5,sigma=5", ramp), ideal_prior(TRUTH), FEW, dip)
    list(made)
    assert (weight_of(made, "kriging") + weight_of(made, "biharmonic") > 0.8).all()
    assert (psnr(made.images, ramp) > 30).all()


def test_calibrated_restores_again_only_what_has_weight() -> None:
    made = CalibratedRestorer(case("inpaint:missing=0.5,sigma=5", TRUTH), ideal_prior(1 - TRUTH), FEW, DIP)
    list(made)
    for kind in made.kinds:
        skipped = weight_of(made, kind) == 0
        trial = made.results[kind].mean(0)[skipped]
        assert torch.equal(made.results[f"{kind} again"].mean(0)[skipped], trial)
        assert torch.equal(made._result(kind)[skipped], trial)


@pytest.mark.parametrize("task", ["superres:factor=2", "deblur:width=1,sigma=5"])
def test_calibrated_leaves_coarse_or_noisy_fits_out_of_result(task: str) -> None:
    """They are made from blocks of twice the side, or with 1.7 times the noise."""
    made = CalibratedRestorer(case(task, TRUTH), ideal_prior(1 - TRUTH), FEW, DIP)
    list(made)
    assert made.split.is_coarser or made.split.is_noisier
    again = weight_of(made, "fit") > 0
    assert bool(again.any())
    assert torch.equal(made._result("fit")[again], made.results["fit again"].mean(0)[again])


def test_calibrated_without_restarts_still_fits_measured_blocks() -> None:
    options = msgspec.structs.replace(FEW, restarts=0, least=0.0)
    made = CalibratedRestorer(case("superres:factor=2", TRUTH[:2]), ideal_prior(1 - TRUTH), options, DIP)
    list(made)
    assert bool((weight_of(made, "fit") > 0).any())
    assert bool(made.images.isfinite().all())


def test_calibrated_averages_folds_and_restarts() -> None:
    options = msgspec.structs.replace(FEW, folds=3, restarts=2, least=0.0)
    made = CalibratedRestorer(case("inpaint:missing=0.5,sigma=5", TRUTH[:2]), ideal_prior(1 - TRUTH), options, DIP)
    list(made)
    again = weight_of(made, "fit") > 0
    expected = torch.cat([made.results["fit"], made.results["fit again"]]).mean(0)
    torch.testing.assert_close(made._result("fit")[again], expected[again])


def test_calibrated_announces_stages_in_order_and_weights_after_trial() -> None:
    made = CalibratedRestorer(case("denoise:sigma=25", TRUTH), ideal_prior(TRUTH), FEW, DIP)
    steps, announced = [], []
    for item in made:
        if isinstance(item, Step):
            steps.append(item.step)
        else:
            announced.append((len(steps), item))
    stages = [item for _, item in announced if isinstance(item, StageStarted)]
    count = len(made.kinds)
    assert [stage.stage for stage in stages[:count]] == list(range(1, count + 1))
    assert all("trial" in stage.title for stage in stages[:count])
    assert all("final" in stage.title for stage in stages[count:])
    # Each stage is announced before its first step, and numbered after the steps of the stages before it.
    assert all(
        stage.step < steps[at] and (at == 0 or stage.step >= steps[at - 1])
        for at, stage in announced
        if isinstance(stage, StageStarted)
    )
    weights, expected = [item for _, item in announced if isinstance(item, Message)]
    assert made.trial is not None and "help here" in expected.text
    shares = [float(share) for share in re.findall(r"(\d+)%", weights.text)]
    assert made.weights is not None
    assert shares == pytest.approx((100 * made.weights.mean(0)).tolist(), abs=0.51)


@pytest.mark.parametrize("task", ["superres:factor=4", "deblur:width=0.6", "denoise:sigma=0"])
def test_calibrated_reproduces_exact_measurements(task: str) -> None:
    given = case(task, TRUTH)
    made = CalibratedRestorer(given, ideal_prior(1 - TRUTH), FEW, msgspec.structs.replace(DIP, iterations=20))
    list(made)
    torch.testing.assert_close(given.degradation.operator.A(made.images), given.y, rtol=0, atol=1e-4)


def test_config_refuses_folds_that_hide_too_much() -> None:
    with pytest.raises(UserError, match="exceed all of them"):
        configs.build("hybrid", settings={"hybrid.folds": "9", "hybrid.hidden": "0.2"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", ["denoise:noise=salt-and-pepper", "denoise:sigma=40,blind=true", "inpaint:missing=0.5", "superres:factor=2"]
)
def test_calibrated_resumes_exactly(task: str) -> None:
    truth = TRUTH[:2]
    prior = ideal_prior(torch.cat([truth[:1], 1 - truth[1:]]))
    dip = msgspec.structs.replace(SMALL, iterations=12)
    given = case(task, truth)
    count = len(list(CalibratedRestorer(given, prior, FEW, dip)))
    cuts = [0, 1, 11, 12, 13, count // 2, count - 8, count - 1, count]
    assert_resumes_exactly(lambda: CalibratedRestorer(given, prior, FEW, dip), cuts)


class Spoilt(torch.nn.Module):
    """A trained network whose predictions are NaN for the first image of a batch.

    A fit that is given up leaves its batch, and the next image becomes the first, but never all of them in a stage.
    """

    def forward(self, xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        del t
        return torch.where((torch.arange(len(xt)) == 0).view(-1, 1, 1, 1), torch.nan, xt)


@pytest.mark.parametrize("task", ["denoise:sigma=25", "inpaint:missing=0.5,sigma=5"])
def test_calibrated_replaces_candidates_that_are_not_finite(task: str) -> None:
    """Stacking pools all images, so the NaN of one must not reach the others; each such stage is named."""
    prior = replace(ideal_prior(TRUTH), network=Spoilt())
    options = Calibrated(steps=2, restarts=1, hidden=0.2)
    made = CalibratedRestorer(case(task, TRUTH), prior, options, DIP)
    warnings = [item.text for item in made if isinstance(item, Message) and item.level == "warning"]
    assert made.images.isfinite().all()
    assert made.weights is not None
    assert made.weights.sum(1).tolist() == pytest.approx([1.0] * 6)
    assert any("are not finite. The mean of the stages before" in text for text in warnings)


@pytest.mark.parametrize("task", ["inpaint:missing=0.5,sigma=5", "superres:factor=2,sigma=5", "denoise:sigma=25"])
def test_spread_is_that_of_the_mixture_of_results(task: str) -> None:
    """The variance of a mixture is E[v^2] - E[v]^2, over candidates by weight and over their results."""
    made = CalibratedRestorer(case(task, TRUTH[:3]), ideal_prior(1 - TRUTH), FEW, DIP)
    list(made)
    assert made.spread is not None and made.weights is not None
    for image in range(3):
        squares = np.zeros((1, 16, 16))
        mean = made.images[image].double().numpy()
        for kind, weight in zip(made.kinds, made.weights[image].tolist(), strict=True):
            results = made.results[f"{kind} again"]
            results = results if len(results) > 1 else torch.cat([made.results[kind], results])
            values = results[:, image].double().numpy()
            squares += weight * (values.var(0, ddof=1) + made._result(kind)[image].double().numpy() ** 2)
        expected = np.sqrt(np.clip(squares - mean**2, 0, None))
        np.testing.assert_allclose(made.spread[image].numpy(), expected, atol=1e-3)
        assert expected.max() > 1e-3


def test_exact_measurements_have_no_spread() -> None:
    given = case("inpaint:missing=0.5", TRUTH[:2])
    made = CalibratedRestorer(given, ideal_prior(1 - TRUTH), FEW, DIP)
    before = made.spread
    list(made)
    spread, measured = made.spread, given.degradation.operator.measured(given.y) > 0
    assert before is None and spread is not None
    assert spread[measured].max() < 1e-6
    assert spread[~measured].max() > 1e-3


def test_final_samples_are_kept_apart() -> None:
    made = CalibratedRestorer(case("inpaint:missing=0.5,sigma=5", TRUTH), ideal_prior(TRUTH), FEW, DIP)
    list(made)
    wanted = weight_of(made, "diffusion") > 0
    samples = made.results["diffusion again"]
    assert bool(wanted.any()) and len(samples) == FEW.samples
    assert not torch.equal(samples[0][wanted], samples[1][wanted])


@pytest.mark.parametrize("task", ["inpaint:missing=0.5,sigma=5", "denoise:sigma=25", "superres:factor=2"])
def test_second_prior_gets_the_weight_where_it_is_the_better_one(task: str) -> None:
    """The first prior knows other images; the second one knows the true ones, and restores them almost exactly."""
    wrong, right = ideal_prior(shapes(6, size=16, seed=7)), ideal_prior(TRUTH)
    dip = msgspec.structs.replace(DIP, iterations=5)
    given = case(task, TRUTH)
    alone = CalibratedRestorer(given, wrong, FEW, dip)
    made = CalibratedRestorer(given, replace(wrong, second=right), FEW, dip)
    for restorer in (alone, made):
        list(restorer)
    assert made.kinds == (*alone.kinds, "second-prior")
    assert weight_of(made, "second-prior").mean() > 0.5
    assert psnr(made.images, TRUTH).mean() > psnr(alone.images, TRUTH).mean()
    assert made.nfe > alone.nfe
