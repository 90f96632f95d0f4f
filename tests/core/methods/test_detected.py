from __future__ import annotations

import torch

from dipddpm.core.methods.detected import DetectedImpulsesRestorer
from dipddpm.core.methods.diffusion import DdpmRestorer
from tests.core.methods.cases import assert_resumes_exactly, case, ideal_prior, shapes

TRUTH = shapes(3)


def test_detected_impulses_are_restored_and_other_values_kept() -> None:
    given = case("denoise:noise=salt-and-pepper,hit=0.2", TRUTH)
    prior = ideal_prior(shapes(40, seed=1))
    made, plain = DetectedImpulsesRestorer(given, prior), DdpmRestorer(given, prior)
    for restorer in (made, plain):
        list(restorer)
    clean = given.y == TRUTH
    torch.testing.assert_close(made.images[clean], TRUTH[clean])
    errors = [(restorer.images - TRUTH).square().mean() for restorer in (made, plain)]
    assert errors[0] < 0.5 * errors[1]


def test_detected_impulses_restorer_resumes_exactly_and_counts_evaluations() -> None:
    given = case("inpaint:missing=0.3,noise=salt-and-pepper,hit=0.1", TRUTH)
    prior = ideal_prior(shapes(8, seed=1))
    assert_resumes_exactly(lambda: DetectedImpulsesRestorer(given, prior, samples=2), [0, 50, 100, 101, 200])
    made = DetectedImpulsesRestorer(given, prior, samples=2)
    list(made)
    assert len(made) == 200
    assert made.nfe == 4 * 100 + 2 * 100
