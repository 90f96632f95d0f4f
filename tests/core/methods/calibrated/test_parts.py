"""Means of some candidates of one run, against the candidates' own results and a search over weights."""

from __future__ import annotations

import msgspec
import pytest
import torch

from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.methods.calibrated.parts import AllCandidates, PartOfCandidates
from tests.core.methods.cases import SMALL, case, ideal_prior, shapes

TRUTH = shapes(3, size=16)
DIP = msgspec.structs.replace(SMALL, iterations=10, window=20, patience=30)
FEW = Calibrated(hidden=0.2, steps=6, trial_samples=2, samples=2, restarts=1, least=0.0)


@pytest.fixture(params=["inpaint:missing=0.5,sigma=5", "denoise:sigma=25"])
def run(request: pytest.FixtureRequest) -> AllCandidates:
    made = AllCandidates(case(request.param, TRUTH), ideal_prior(shapes(4, size=16, seed=5)), FEW, DIP)
    list(made)
    return made


def test_all_candidates_give_the_restoration_and_one_gives_its_own(run: AllCandidates) -> None:
    assert torch.allclose(run.mean_of(run.kinds), run.images, atol=1e-6)
    for kind in run.kinds:
        final = run.results[f"{kind} again"]
        assert len(final) and bool(final.isfinite().all())
        assert torch.allclose(run.mean_of([kind]), run._result(kind), atol=1e-6)


def test_weights_of_two_candidates_are_those_that_predict_best(run: AllCandidates) -> None:
    """A search over the weights of one image alone finds those of a pool of no others."""
    kinds = ("diffusion", "fit")
    first, second = (run._result(kind) for kind in kinds)
    restored = run.mean_of(kinds)
    direction = (second - first).flatten(1)
    share = ((restored - first).flatten(1) * direction).sum(1) / direction.square().sum(1)
    assert torch.allclose(first + share.view(-1, 1, 1, 1) * (second - first), restored, atol=1e-5)
    weights = run._stack(run._errors(kinds))
    assert torch.allclose(share, weights[:, 1], atol=1e-4)
    errors = run._errors(kinds).double()

    def pooled(w: float) -> float:
        combined = (1 - w) * errors[0] + w * errors[1]
        scales = errors.square().sum(2).view(2, 2, 3).sum((0, 1))
        return float((combined.square().sum(1).view(2, 3).sum(0) / scales).sum())

    best = min((step / 200 for step in range(201)), key=pooled)
    assert abs(float(weights[:, 1].mean()) - best) < 0.15


def test_part_of_a_finished_run_costs_its_seconds_and_does_no_more_work(run: AllCandidates) -> None:
    part = PartOfCandidates(run, ["fit"], 3.5)
    assert list(part) == [] and part.seconds_before == 3.5
    assert torch.equal(part.images, run.mean_of(["fit"]))
    assert (part.nfe, part.iterations, part.trial) == (run.nfe, run.iterations, run.trial)


def test_part_resumes_within_the_run_that_it_begins() -> None:
    def make() -> PartOfCandidates:
        given = case("inpaint:missing=0.5,sigma=5", TRUTH[:2])
        return PartOfCandidates(AllCandidates(given, ideal_prior(TRUTH), FEW, DIP), ["fit", "kriging"])

    whole, cut = make(), make()
    list(whole)
    items = iter(cut)
    for _ in range(6):
        next(items)
    resumed = make()
    resumed.load_state_dict(cut.state_dict())
    list(resumed)
    assert torch.equal(resumed.images, whole.images)
