"""The spread of averaged results in a run, against numpy and against a posterior that is known exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dipddpm.core.events import Item, Pictures, SpreadMeasured, StateDict
from dipddpm.core.experiments.spread import spread_items


class Averaged:
    """A restorer that has finished; its images are the mean of samples, unless only their spread is known."""

    nfe = iterations = 0

    def __init__(self, samples: Tensor) -> None:
        self.samples: Tensor | None = samples
        self.images = samples.mean(0)
        self.spread: Tensor | None = samples.std(0) if len(samples) > 1 else None

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Item]:
        return iter(())

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: StateDict) -> None:
        del state


def measured(restorer: Averaged, truth: Tensor | None) -> tuple[SpreadMeasured, Pictures]:
    event, shown = spread_items(restorer, truth, "method", 7)
    assert isinstance(event, SpreadMeasured) and isinstance(shown, Pictures)
    assert (event.step, event.method, shown.step) == (7, "method", 7)
    return event, shown


@given(st.integers(2, 9), st.integers(1, 3), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_spread_and_error_agree_with_numpy(count: int, images: int, channels: int, seed: int) -> None:
    draws = np.random.default_rng(seed).uniform(0, 1, (count + 1, images, channels, 5, 6)).astype(np.float32)
    event, _ = measured(Averaged(torch.from_numpy(draws[1:])), torch.from_numpy(draws[0]))
    deviation = draws[1:].std(0, ddof=1, dtype=np.float64)
    error = draws[1:].mean(0, dtype=np.float64) - draws[0]
    for values, expected in ((event.spread, deviation), (event.error, error)):
        assert values == pytest.approx(255 * np.sqrt((expected**2).mean((1, 2, 3))), rel=1e-4)
    assert event.samples == count
    assert event.wide_level == pytest.approx((count - 1) / (count + 1))
    assert (len(event.half), len(event.wide)) == (images if count > 2 else 0, images)


@pytest.mark.parametrize(("width", "half", "wide"), [(1.0, 0.5, 0.9), (0.5, 0.263, 0.589)])
def test_shares_are_those_of_gaussian_posterior(width: float, half: float, wide: float) -> None:
    """The central intervals of N(0, 1) that hold 50% and 90%, half as wide, hold 26% and 59% of N(0, 1)."""
    generator = torch.Generator().manual_seed(0)
    mean = 0.3 + 0.4 * torch.rand(2, 1, 40, 40, generator=generator)
    truth = mean + 0.05 * torch.randn(mean.shape, generator=generator)
    samples = mean + 0.05 * width * torch.randn(199, *mean.shape, generator=generator)
    event, _ = measured(Averaged(samples), truth)
    assert event.wide_level == 0.9
    assert event.half == pytest.approx([half] * 2, abs=0.05)
    assert event.wide == pytest.approx([wide] * 2, abs=0.04)


def test_shares_of_few_samples_are_the_levels() -> None:
    generator = torch.Generator().manual_seed(1)
    draws = 0.5 + 0.05 * torch.randn(9, 1, 1, 100, 100, generator=generator)
    event, _ = measured(Averaged(draws[1:]), draws[0])
    assert event.wide_level == pytest.approx(7 / 9)
    assert event.half == pytest.approx([0.5], abs=0.02)
    assert event.wide == pytest.approx([7 / 9], abs=0.02)


def test_equal_black_pixels_count_as_the_level() -> None:
    """Rounding noise below half a grey level and values below black are no differences."""
    samples = torch.stack([torch.full((1, 1, 4, 4), value) for value in (-0.2, 0.001, 0.0, -1e-6)])
    event, _ = measured(Averaged(samples), torch.zeros(1, 1, 4, 4))
    assert event.half == [pytest.approx(0.5)]
    assert event.wide == [pytest.approx(0.6)]


def test_picture_shows_spread_and_error_on_the_scale_that_it_names() -> None:
    deviation = torch.linspace(0, 20 / 255, 64).view(1, 1, 8, 8)
    base = torch.full((1, 1, 8, 8), 0.5)
    samples = torch.stack([base - deviation, base, base + deviation])
    _, shown = measured(Averaged(samples), base + 8 / 255)
    assert shown.panels == ("restored", "spread, white is 32 grey levels", "error")
    assert shown.title == "Spread of 3 samples; white is 32 grey levels"
    assert torch.allclose(shown.images[0], base[0])
    assert torch.allclose(shown.images[1], deviation[0] * 255 / 32, atol=1e-5)
    assert torch.allclose(shown.images[2], torch.full((1, 8, 8), 0.25), atol=1e-5)
    _, without_truth = measured(Averaged(samples), None)
    assert without_truth.panels == shown.panels[:2]
    assert (without_truth.columns, shown.columns) == (2, 3)


def test_weighted_results_have_a_spread_but_no_shares() -> None:
    weighted = Averaged(torch.rand(4, 2, 3, 5, 5))
    weighted.samples = None
    event, shown = measured(weighted, torch.rand(2, 3, 5, 5))
    assert (event.samples, event.half, event.wide, event.wide_level) == (0, [], [], 0.0)
    assert shown.images.shape == (6, 3, 5, 5)
    assert event.sentence.startswith("The averaged results differ by ")
    assert not list(spread_items(Averaged(torch.rand(1, 2, 1, 5, 5)), None, "method", 7))


def test_sentence_has_means_over_the_images() -> None:
    event = SpreadMeasured(
        step=1,
        method="m",
        spread=[3.0, 4.0],
        error=[6.0, 8.0],
        samples=8,
        half=[0.4, 0.5],
        wide=[0.6, 0.8],
        wide_level=7 / 9,
    )
    assert event.sentence == (
        "The 8 samples differ by 3.5 grey levels (standard deviation), and the error of their mean is 7.1; "
        "the truth lies in their central 50% at 45% and in their central 78% at 70% of the pixels"
    )


def test_image_that_is_not_finite_is_left_out_of_the_sentence() -> None:
    samples = torch.rand(4, 2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    samples[2, 1, 0, 3, 3] = torch.nan
    event, shown = measured(Averaged(samples), torch.rand(2, 1, 6, 6))
    assert (
        np.isfinite([event.spread[0], event.half[0]]).all() and not np.isfinite([event.spread[1], event.half[1]]).any()
    )
    assert "nan" not in event.sentence
    assert torch.isnan(shown.images[3:]).any()
