from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import pytest
import torch

from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.events import Message, StageStarted, Step
from dipddpm.core.methods.calibrated.method import CalibratedRestorer, calibrated
from tests.core.methods.cases import SMALL, assert_resumes_exactly, case, ideal_prior, shapes

TRUTH = shapes(6, size=16)
DIP = msgspec.structs.replace(SMALL, iterations=80, window=20, patience=30)
FEW = Calibrated(hidden=0.2, steps=6, full_steps=10, trial_samples=2, samples=2, restarts=1)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["denoise:sigma=50,blind=true", "deblur", "denoise:noise=salt-and-pepper"])
def test_calibrated_trusts_only_prior_of_same_images(task: str) -> None:
    given = case(task, TRUTH)
    diffusion_weights = []
    for known in (TRUTH, 1 - TRUTH):
        made = CalibratedRestorer(given, ideal_prior(known), FEW, DIP)
        list(made)
        assert made.weights is not None
        diffusion_weights.append(made.weights[:, 2:5].sum(1).mean().item())
    assert diffusion_weights[0] > diffusion_weights[1] + 0.3


def test_calibrated_skips_refit_below_min_weight() -> None:
    made = CalibratedRestorer(case("denoise:sigma=25", TRUTH), ideal_prior(TRUTH), FEW, DIP)
    list(made)
    assert (made.share("dip", "guided") < FEW.trusted).all()
    assert torch.equal(made.results["restart 0"], made.results["dip"])
    assert made.iterations <= 2 * DIP.iterations


def test_calibrated_announces_stages_in_order_and_weights_after_trial() -> None:
    made = CalibratedRestorer(case("denoise:sigma=25", TRUTH), ideal_prior(TRUTH), FEW, DIP)
    steps, announced = [], []
    for item in made:
        if isinstance(item, Step):
            steps.append(item.step)
        else:
            announced.append((len(steps), item))
    stages = [item for _, item in announced if isinstance(item, StageStarted)]
    assert [stage.stage for stage in stages[:5]] == [1, 2, 3, 4, 5]
    assert all("trial" in stage.title for stage in stages[:5]) and all("final" in stage.title for stage in stages[5:])
    # Each stage is announced before its first step, and numbered after the steps of the stages before it.
    assert all(
        stage.step < steps[at] and (at == 0 or stage.step >= steps[at - 1])
        for at, stage in announced
        if isinstance(stage, StageStarted)
    )
    (message,) = [item for _, item in announced if isinstance(item, Message)]
    shares = [float(share) for share in re.findall(r"(\d+)%", message.text)]
    assert made.weights is not None
    assert shares == pytest.approx((100 * made.weights.mean(0)).tolist(), abs=0.51)


def test_calibrated_refits_only_leading_methods_after_coarse_trial() -> None:
    made = CalibratedRestorer(case("superres:factor=2", TRUTH), ideal_prior(1 - TRUTH), FEW, DIP)
    list(made)
    assert made.weights is not None and made.split.coarser
    fits = made.weights[:, :2].sum(1)
    others = made.weights[:, 2:]
    lead = torch.maximum(fits, others.amax(1))
    assert ((others == 0) | (others >= 0.5 * lead[:, None])).all()
    torch.testing.assert_close(made.weights.sum(1), torch.ones(len(TRUTH)))
    # The trial's fits, to blocks of twice the side, are never part of the result.
    indices = (fits > 0).nonzero().flatten()
    torch.testing.assert_close(made._dip_mean()[indices], made.results["restart 0"][indices])


def test_calibrated_reproduces_exact_measurements() -> None:
    for task in ("superres:factor=4", "deblur:width=0.6"):
        given = case(task, TRUTH)
        made = CalibratedRestorer(given, ideal_prior(1 - TRUTH), FEW, DIP)
        list(made)
        torch.testing.assert_close(given.degradation.operator.A(made.images), given.y, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["denoise:noise=salt-and-pepper", "denoise:sigma=40,blind=true"])
def test_calibrated_resumes_exactly(task: str) -> None:
    truth = TRUTH[:2]
    prior = ideal_prior(torch.cat([truth[:1], 1 - truth[1:]]))
    dip = msgspec.structs.replace(SMALL, iterations=12)
    given = case(task, truth)
    whole = CalibratedRestorer(given, prior, FEW, dip)
    count = len(list(whole))
    cuts = [0, 1, 12, 13, 24, 25, count // 2, count - 8, count - 1, count]
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
    made = calibrated(case(task, TRUTH), prior, Calibrated(steps=2, full_steps=3, restarts=1, folds=2, fold=0.2), DIP)
    warnings = [item.text for item in made if isinstance(item, Message) and item.level == "warning"]
    assert made.images.isfinite().all()
    assert made.weights is not None
    assert made.weights.sum(1).tolist() == pytest.approx([1.0] * 6)
    assert any("are not finite. The mean of the stages before" in text for text in warnings)
