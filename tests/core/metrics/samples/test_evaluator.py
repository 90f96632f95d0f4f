from __future__ import annotations

import pytest
import torch

from dipddpm.core.config import DataConfig
from dipddpm.core.data import ImageSet
from dipddpm.core.events import Pictures, SamplesEvaluated
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.samples.evaluate import SampleEvaluator, evaluate


@pytest.fixture(scope="module")
def evaluator(train: ImageSet) -> SampleEvaluator:
    return SampleEvaluator.of(DataConfig(dataset="fashion-mini"), train.take(range(800)))


def test_sample_evaluator_reports_all_measures(evaluator: SampleEvaluator, test: ImageSet) -> None:
    samples = to_unit(test.images[:200])
    *evaluated, picture = evaluator(samples, seed=3, step=7, nfe=20)
    assert isinstance(picture, Pictures)
    assert picture.name == "nearest"
    assert tuple(evaluated[:2]) == evaluate(samples, test, seed=3, step=7, nfe=20)
    for event in evaluated[2:]:
        assert isinstance(event, SamplesEvaluated)
        assert (event.step, event.samples, event.nfe) == (7, 200, 20)
        assert "one of the 800 train images of fashion-mini" in event.protocol
        assert "99% of 500 test images" in event.protocol


def test_sample_evaluator_suspects_copies_only(evaluator: SampleEvaluator, train: ImageSet) -> None:
    copies, new = (to_unit(train.images[indices]) for indices in (torch.arange(200), torch.arange(1000, 1200)))
    for samples, least, most in ((copies, 1.0, 1.0), (new, 0.0, 0.05)):
        shares = [e.value for e in evaluator(samples, seed=0) if isinstance(e, SamplesEvaluated)][2:]
        assert all(least <= share <= most for share in shares)
