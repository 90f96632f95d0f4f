"""Self-diffusion and sequential, the two methods whose networks get images as input."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import Tensor

from dipddpm.core.config import DipConfig
from dipddpm.core.config.hybrid import SelfDiffusion, Sequential
from dipddpm.core.methods.regularized_dip import InputFeed, InputFeedRestorer, falling_level
from dipddpm.core.methods.self_diffusion import SelfDiffusionRestorer
from dipddpm.core.methods.sequential import Purified, SequentialRestorer
from dipddpm.core.metrics.image import psnr
from tests.core.methods.cases import SMALL, assert_resumes_exactly, case, ideal_prior, shapes

TRUTH = shapes(3)
DESCENT = SelfDiffusion(fall=20, every=4)
TURNS = Sequential(fall=12, every=4, steps=2)


def longer(iterations: int, **changes: object) -> DipConfig:
    return msgspec.structs.replace(SMALL, iterations=iterations, average=0.9, **changes)


class LastOutput(InputFeed):
    """Each network's input is its own last output plus 1."""

    def renew(self, indices: Tensor) -> Tensor:
        return self.batch.output[indices] + 1


def test_input_feed_restorer_renews_input_at_interval_for_active_images() -> None:
    made = InputFeedRestorer(case("denoise:sigma=25", TRUTH), longer(9), lambda batch: LastOutput(batch, 3, 0), seed=0)
    (batch,), (feed,) = made.fit.batches, made.attached
    assert isinstance(feed, InputFeed)
    inputs = []
    for step in range(9):
        if step == 4:
            batch.stopping.stopped_at[0] = 4
            batch.compact_if_worthwhile()
        before = batch.output
        batch.step_once()
        inputs.append(feed.current_input)
        if step % 3 == 0:
            assert torch.equal(feed.current_input[batch.indices], before[batch.indices] + 1)
    assert torch.equal(inputs[0], inputs[2])
    assert torch.equal(inputs[3][0], inputs[8][0])
    assert not torch.equal(inputs[3][1], inputs[8][1])


def test_falling_level_is_linear_in_logarithm() -> None:
    assert [falling_level(100.0, 1.0, share) for share in (0.0, 0.5, 1.0, 3.0)] == pytest.approx([100, 10, 1, 1])


@pytest.mark.parametrize(
    ("method", "task"),
    [
        ("self-diffusion", "denoise:sigma=50"),
        ("self-diffusion", "inpaint:missing=0.5,sigma=5"),
        ("self-diffusion", "superres:sigma=5"),
        ("sequential", "denoise:sigma=50"),
        ("sequential", "inpaint:missing=0.5,sigma=5"),
    ],
)
def test_input_feed_restorers_beat_pseudo_inverse(method: str, task: str) -> None:
    """Large pixels of such small images let `sequential` settle on a wrong shape, by seed, so they aren't a case here.

    The small network's super-resolution also gains from going on after its stop.
    """
    truth = TRUTH.repeat(4, 1, 1, 1)
    superres = task.startswith("superres")
    given, dip = case(task, truth), longer(80, stop="never" if superres else "auto")
    if method == "sequential":
        made: InputFeedRestorer = SequentialRestorer(given, ideal_prior(shapes(20, seed=1)), TURNS, dip)
    else:
        made = SelfDiffusionRestorer(given, None, DESCENT, dip)
    list(made)
    start = given.degradation.operator.pinv(given.y)
    assert psnr(made.images, truth).mean() > psnr(start, truth).mean() + 1
    assert made.iterations <= len(made) == 80


def test_input_feed_restorers_resume_exactly() -> None:
    given, prior = case("denoise:sigma=40", TRUTH), ideal_prior(shapes(8, seed=1))
    assert_resumes_exactly(lambda: SelfDiffusionRestorer(given, None, DESCENT, SMALL), [0, 3, 9, 15])
    assert_resumes_exactly(lambda: SequentialRestorer(given, prior, TURNS, SMALL), [0, 3, 9, 15])


@pytest.mark.usefixtures("double")
def test_input_feed_restorers_are_independent_of_batch() -> None:
    given, prior = case("inpaint:missing=0.5,sigma=5", TRUTH.double()), ideal_prior(shapes(8, seed=1))
    for make in (
        lambda dip: SelfDiffusionRestorer(given, None, DESCENT, dip),
        lambda dip: SequentialRestorer(given, prior, msgspec.structs.replace(TURNS, steps=0), dip),
    ):
        together, apart = (make(longer(8, batch=batch)) for batch in (3, 1))
        list(together)
        list(apart)
        torch.testing.assert_close(together.images, apart.images, rtol=0, atol=1e-9)


def test_self_diffusion_input_noise_falls() -> None:
    made = SelfDiffusionRestorer(case("denoise:sigma=25", TRUTH), None, DESCENT, longer(40, stop="never"))
    (batch,), (feed,) = made.fit.batches, made.attached
    assert isinstance(feed, InputFeed)
    noise = []
    for _ in range(40):
        before = batch.output
        batch.step_once()
        if (feed.step - 1) % 4 == 0:
            noise.append((feed.current_input - (before if feed.step > 1 else 0.5)).std().item())
    assert noise[0] == pytest.approx(1.0, rel=0.2)
    assert noise[5:] == pytest.approx([10 / 255] * 5, rel=0.2)
    assert made.nfe == 0


def test_sequential_finds_image_of_right_prior() -> None:
    """70% of the pixels are missing; the prior, trained on the images, can fill them in, and plain DIP can't."""
    given = case("inpaint:missing=0.7,sigma=10", TRUTH)
    dip = longer(150, stop="never")
    turns = Sequential(weight=0.3, fall=60, every=5, steps=2)
    results = []
    for options in (turns, msgspec.structs.replace(turns, weight=0.0, steps=0)):
        made = SequentialRestorer(given, ideal_prior(torch.cat([TRUTH, shapes(3, seed=9)])), options, dip)
        list(made)
        results.append(psnr(made.images, TRUTH))
    assert results[0].mean() > results[1].mean() + 3
    assert results[0].min() > 25


def test_sequential_counts_every_purification() -> None:
    given, prior = case("inpaint:missing=0.5", TRUTH), ideal_prior(TRUTH)
    counts = []
    for steps in (0, 2):
        made = SequentialRestorer(given, prior, msgspec.structs.replace(TURNS, steps=steps), longer(12, stop="never"))
        list(made)
        counts.append(made.nfe)
    assert counts == [0, 2 * 2]  # purified after 4 and 8 iterations; the first input is A+ y


def test_purify_recovers_image_of_prior_and_respects_noise_floor() -> None:
    made = SequentialRestorer(case("denoise:sigma=60", TRUTH), ideal_prior(TRUTH), TURNS, longer(4))
    (feed,) = made.attached
    assert isinstance(feed, Purified)
    assert feed.floor == pytest.approx(60)
    noisy = TRUTH + 0.1 * torch.randn(TRUTH.shape, generator=torch.Generator().manual_seed(0))
    feed.step = 12
    torch.testing.assert_close(feed.purify(noisy), TRUTH, rtol=0, atol=0.02)
