"""The pooled errors at held-out measurements, against loops over images and pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from dipddpm.core.events import RestorationScored, TrialErrors, decode, encode
from dipddpm.core.methods.calibrated.outlook import outlook, reach, trial_errors
from dipddpm.core.methods.hold_out import hold_out
from tests.core.methods.cases import case, shapes

TRUTH = shapes(3, size=16)


@pytest.mark.parametrize("task", ["inpaint:missing=0.5,sigma=10", "denoise:sigma=20", "superres:factor=2,sigma=3"])
def test_products_and_noise_are_means_over_values_and_images(task: str) -> None:
    given = case(task, TRUTH)
    split = hold_out(given, 0.2, 0.5, 1, folds=2)
    candidates = torch.stack(
        [torch.full((6, 1, 16, 16), 0.4), TRUTH.repeat(2, 1, 1, 1), TRUTH.repeat(2, 1, 1, 1) + 0.1]
    )
    errors = split.errors(candidates)
    found = trial_errors(("a", "b", "c"), errors, split, given, 2)
    where = split.where.flatten(1)
    expected, noise = np.zeros((2, 3, 3)), 0.0
    for image in range(3):
        tables = []
        for fold in range(2):
            row = fold * 3 + image
            values = errors[:, row][:, where[row] > 0].double().numpy()
            tables.append(values @ values.T / values.shape[1])
        scale = np.mean([table.diagonal() for table in tables])
        expected += np.stack(tables) / scale / 3
        noise += split.noise[image].item() / scale / 3 if split.noise is not None else 0
    assert np.allclose(found.products, expected, rtol=1e-4)
    assert found.noise == pytest.approx(noise, rel=1e-4)
    assert found.candidates == ["a", "b", "c"]


@pytest.mark.parametrize("task", ["inpaint:missing=0.5,sigma=20", "denoise:sigma=20", "superres:factor=2,sigma=20"])
def test_error_of_the_truth_is_the_expected_noise(task: str) -> None:
    """The truth's error at held-out values is their noise alone, so a candidate's own error is the rest."""
    truth = shapes(60, size=16)
    given = case(task, truth)
    split = hold_out(given, 0.2, 0.5, 1, folds=2)
    errors = split.errors(truth.repeat(2, 1, 1, 1)[None])
    found = trial_errors(("truth",), errors, split, given, 2)
    assert found.noise == pytest.approx(np.mean(found.products), rel=0.12)


def test_reach_compares_the_distances_to_measured_pixels() -> None:
    box, spread = case("inpaint:box=8,sigma=5", TRUTH), case("inpaint:missing=0.5,sigma=5", TRUTH)
    split = hold_out(box, 0.12, 0.5, 1, folds=2)

    def distance(where: torch.Tensor, measured: torch.Tensor) -> float:
        """Return the mean distance to the nearest measured pixel, by comparing all pairs of pixels."""
        found = []
        for wanted, known in zip(where, measured, strict=True):
            known_pixels = known[0].nonzero().tolist()
            found += [min(math.dist(a, b) for b in known_pixels) for a in wanted[0].nonzero().tolist()]
        return float(np.mean(found))

    measured = box.degradation.operator.measured(box.y)
    trial = split.case.degradation.operator.measured(split.case.y)
    hidden = measured.repeat(2, 1, 1, 1) - trial
    assert reach(split, box) == pytest.approx(distance(1 - measured, measured) / distance(hidden, trial), rel=1e-6)
    assert reach(split, box) > 1.5
    assert 0.8 < reach(hold_out(spread, 0.12, 0.5, 1, folds=2), spread) < 1.3
    other = case("superres:factor=2", TRUTH)
    assert reach(hold_out(other, 0.12, 0.5, 1, folds=2), other) == 1


def test_trial_survives_the_log() -> None:
    trial = TrialErrors(candidates=["fit"], products=[[[1.0]], [[0.5]]], noise=0.1, reach=2.0)
    event = RestorationScored(task="inpaint", method="calibrated", psnr=[20.0], trial=trial)
    assert decode(encode(event)) == event
    assert msgspec.convert(msgspec.to_builtins(trial), TrialErrors) == trial


def errors_of(images: int, values: int, dip: float, *, seed: int = 0) -> TrialErrors:
    """Return a trial in which kriging and diffusion have independent errors, and DIP's equal kriging's plus its own.

    `dip` is the standard deviation of DIP's own errors; if it is negative, DIP's errors are independent of all others.
    """
    generator = torch.Generator().manual_seed(seed)
    kriging, diffusion, own = torch.randn((3, 2 * images, values), generator=generator)
    fit = -dip * own if dip < 0 else kriging + dip * own
    given = case("inpaint:missing=0.5,sigma=5", shapes(images, size=16))
    split = hold_out(given, 0.2, 0.5, 1, folds=2)
    where = torch.ones((2 * images, values))
    split = replace(split, where=where, noise=None)
    return trial_errors(("diffusion", "kriging", "fit"), torch.stack([diffusion, kriging, fit]), split, given, 2)


def test_independent_errors_of_dip_promise_the_gain_of_a_larger_mean() -> None:
    """The mean of n candidates with independent errors of equal size has a mean square of 1 / n of one's own."""
    found = outlook(errors_of(40, 500, -1.0))
    assert found is not None and found.helps
    assert found.by_dip == pytest.approx(10 * math.log10(3 / 2), abs=0.1)
    assert found.over_best == pytest.approx(10 * math.log10(2), abs=0.1)
    assert found.text.startswith("DIP will help here: with it, held-out measurements are predicted better by 1.")


def test_dip_whose_errors_are_those_of_kriging_and_more_promises_nothing() -> None:
    found = outlook(errors_of(40, 500, 0.5))
    assert found is not None and not found.helps
    assert abs(found.by_dip) < 0.05
    assert found.text == "DIP won't help here: without it, held-out measurements are predicted as well."


def test_few_held_out_values_promise_no_gain_on_average_where_there_is_none() -> None:
    """Weights chosen on one fold are scored on the other; else many candidates would always seem to help."""
    gains = [found.by_dip for seed in range(40) if (found := outlook(errors_of(1, 12, 0.3, seed=seed)))]
    assert np.mean(gains) < 0.05


def test_outlook_warns_of_a_hole_that_the_held_out_pixels_cant_stand_for() -> None:
    trial = msgspec.structs.replace(errors_of(4, 100, -1.0), reach=3.0)
    found = outlook(trial)
    assert found is not None and "3.0 times as far" in found.text
    assert outlook(msgspec.structs.replace(trial, candidates=["diffusion", "kriging", "nlm"])) is None
    assert outlook(msgspec.structs.replace(trial, products=trial.products[:1])) is None
