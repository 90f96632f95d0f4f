from __future__ import annotations

import pytest
import torch

from dipddpm.core import events
from dipddpm.core.data import ImageSet
from dipddpm.core.errors import UserError
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.samples.classifier import load_classifier
from dipddpm.core.metrics.samples.evaluate import evaluate


def test_evaluate_gives_zero_for_same_set_in_any_order(test: ImageSet) -> None:
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    frechet, kernel = evaluate(to_unit(test.images[order]), test, seed=0)
    assert frechet.value < 1e-4
    assert abs(kernel.value) < 1e-2


def test_evaluate_grows_with_noise(train: ImageSet, test: ImageSet) -> None:
    real = to_unit(train.images[:500])
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    measured = [evaluate(real + noise * sigma / 255, test, seed=0) for sigma in (0, 10, 25, 50)]
    for values in zip(*([event.value for event in pair] for pair in measured), strict=True):
        assert list(values) == sorted(values)
        assert values[-1] > 5 * abs(values[0])


def test_evaluate_is_large_for_single_class(train: ImageSet, test: ImageSet) -> None:
    alone = train.images[train.labels == 7]
    mixed = train.images[: len(alone)]
    for a, b in zip(evaluate(alone, test, seed=0), evaluate(mixed, test, seed=0), strict=True):
        assert a.value > 5 * abs(b.value)


def test_evaluate_reports_protocol(test: ImageSet) -> None:
    pair = evaluate(test.images, test, seed=42, step=7, nfe=20)
    assert [event.measure for event in pair] == ["Frechet distance", "Kernel distance"]
    for event in pair:
        assert (event.step, event.samples, event.nfe) == (7, 500, 20)
        assert events.decode(events.encode(event)) is not None
        for part in (
            "500 samples of seed 42",
            "500 test images of fashion-mini",
            test.sha256[:12],
            "28x28 grey, clipped and rounded to 8 bits",
            "64 features before the last layer",
            load_classifier().sha256[:12],
        ):
            assert part in event.protocol
    assert "(x.y / d + 1)^3" in pair[1].protocol


def test_evaluate_refuses_too_few_images(test: ImageSet) -> None:
    with pytest.raises(UserError, match="at least 128 images, not 127"):
        evaluate(test.images[:127], test, seed=0)
    with pytest.raises(UserError, match="at least 128 images, not 64"):
        evaluate(test.images, test.take(range(64)), seed=0)
