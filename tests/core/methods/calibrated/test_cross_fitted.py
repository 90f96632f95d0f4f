from __future__ import annotations

import msgspec
import pytest
import torch
from torch import Tensor

from dipddpm.core import config as configs
from dipddpm.core.config import DipConfig
from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.errors import UserError
from dipddpm.core.methods.calibrated.cross_fitted import CrossFittedRestorer
from dipddpm.core.methods.calibrated.method import CalibratedRestorer, calibrated
from dipddpm.core.metrics.image import psnr
from tests.core.methods.cases import SMALL, assert_resumes_exactly, case, ideal_prior, shapes

TASK = "inpaint:missing=0.5,sigma=5"
TRUTH = shapes(4, size=16)
DIP = msgspec.structs.replace(SMALL, iterations=60, window=20, patience=30)
FEW = Calibrated(folds=3, fold=0.2, steps=6, trial_samples=2, samples=2, restarts=1)


def cross_fitted(truth: Tensor, known: Tensor, dip: DipConfig = DIP, task: str = TASK) -> CrossFittedRestorer:
    """Build a restorer for the images `truth`, with the ideal prior of the images `known`."""
    return CrossFittedRestorer(case(task, truth), ideal_prior(known), FEW, dip)


def diffusion_weight(restorer: CrossFittedRestorer) -> Tensor:
    assert restorer.weights is not None
    return restorer.weights[:, 1:3].sum(1)


def test_calibrated_uses_cross_fitting_only_for_inpainting() -> None:
    def kind(task: str) -> type:
        return type(calibrated(case(task, TRUTH), ideal_prior(TRUTH), FEW, DIP))

    assert kind(TASK) is kind("inpaint:missing=0.5,sigma=5,blind=true") is CrossFittedRestorer
    assert kind("denoise:sigma=25") is kind("denoise:noise=salt-and-pepper") is CalibratedRestorer


@pytest.mark.slow
def test_cross_fitted_trusts_prior_per_image_in_mixed_group() -> None:
    """The prior is trained on the first images; the other ones are inverted images, which it gets wrong."""
    truth = torch.cat([TRUTH[:3], 1 - shapes(3, seed=5, size=16)])
    restorer = cross_fitted(truth, TRUTH)
    list(restorer)
    weight = diffusion_weight(restorer)
    assert (weight[:3] > 0.6).all()
    assert (weight[3:] < 0.3).all()
    assert (psnr(restorer.images, truth)[:3] > 26).all()


def test_cross_fitted_gives_kriging_most_weight_on_ramp() -> None:
    """On a ramp, DIP needs more than five iterations, and the prior is trained on other images."""
    ramp = torch.linspace(0.2, 0.8, 16).expand(2, 1, 16, 16).contiguous()
    restorer = cross_fitted(ramp, TRUTH, msgspec.structs.replace(DIP, iterations=5))
    list(restorer)
    assert restorer.weights is not None
    assert (restorer.weights[:, restorer.kinds.index("kriged")] > 0.8).all()
    assert (psnr(restorer.images, ramp) > 30).all()


def test_cross_fitted_folds_hide_each_pixel_at_most_once() -> None:
    restorer = cross_fitted(TRUTH, TRUTH)
    measured = restorer.case.degradation.operator.measured(restorer.case.y)
    hidden = torch.stack([split.where for split in restorer.splits])
    assert (hidden.sum(0) <= measured).all()
    share = hidden.sum((1, 2, 3, 4)) / measured.sum()
    torch.testing.assert_close(share, torch.full((3,), 0.2), rtol=0, atol=0.01)
    for split in restorer.splits:
        assert (split.trial_case.y * split.where == 0).all()
        assert (split.trial_case.degradation.operator.measured(split.trial_case.y) + split.where == measured).all()


def test_cross_fitted_refits_only_worthwhile_images() -> None:
    restorer = cross_fitted(TRUTH, 1 - TRUTH)
    list(restorer)
    for kind in ("near", "far"):
        skipped = ~restorer.worthwhile(kind)
        again = restorer.results[f"{kind} again"]
        assert torch.equal(again[skipped], restorer._fold_mean(kind)[skipped])


def test_cross_fitted_draws_half_from_noise_where_trusted() -> None:
    truth = torch.cat([TRUTH[:2], 1 - TRUTH[2:]])
    restorer = cross_fitted(truth, TRUTH)
    list(restorer)
    assert restorer.weights is not None
    assert restorer._diffusion_trusted().tolist() == [True, True, False, False]
    noise = restorer.results["from noise"]
    assert (psnr(noise[:2], truth[:2]) > 30).all()
    assert not noise[2:].any(), "images that were not to be sampled from noise"
    before = restorer.options.folds * restorer.options.trial_samples
    samples = restorer.options.samples
    chains = (samples * restorer.results["near again"] + before * restorer._fold_mean("near")) / (samples + before)
    torch.testing.assert_close(restorer._best_result("near")[:2], (chains + noise)[:2] / 2)
    assert torch.equal(restorer._best_result("near")[2:], chains[2:])


def test_config_refuses_folds_that_hide_too_much() -> None:
    with pytest.raises(UserError, match="exceed all pixels"):
        configs.build("hybrid", settings={"hybrid.folds": "9", "hybrid.fold": "0.2"})


@pytest.mark.slow
def test_cross_fitted_resumes_exactly() -> None:
    truth = TRUTH[:2]
    dip = msgspec.structs.replace(SMALL, iterations=12)
    prior = ideal_prior(torch.cat([truth[:1], 1 - truth[1:]]))
    given = case(TASK, truth)
    count = len(list(CrossFittedRestorer(given, prior, FEW, dip)))
    cuts = [0, 1, 12, 13, 36, 37, count // 2, count - 8, count - 1, count]
    assert_resumes_exactly(lambda: CrossFittedRestorer(given, prior, FEW, dip), cuts)
