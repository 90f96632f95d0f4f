from __future__ import annotations

import msgspec
import numpy as np
import torch

from dipddpm.core.events import EarlyStopped, Step
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.metrics.image import psnr
from tests.core.methods.cases import SMALL, assert_resumes_exactly, case, shapes

TRUTH = shapes(3)


def test_dip_restorer_averages_independent_restarts() -> None:
    given = case("denoise:sigma=50", TRUTH)
    dip = msgspec.structs.replace(SMALL, iterations=30)
    two = DipRestorer(given, dip, restarts=2)
    images = [two.images.clone() for item in two if isinstance(item, Step)]
    first = DipRestorer(given, dip)
    list(first)
    second = 2 * two.images - first.images
    torch.testing.assert_close(images[first.iterations], first.images)
    assert (second - first.images).abs().mean() > 1e-3
    apart = (psnr(first.images, TRUTH) + psnr(second, TRUTH)) / 2
    assert (psnr(two.images, TRUTH) > apart).all()
    assert two.iterations == first.iterations + two.fit.step
    assert two.nfe == 0


def test_dip_restorer_is_independent_of_batch_size() -> None:
    given = case("inpaint:sigma=5", TRUTH)
    together, apart = (
        DipRestorer(given, msgspec.structs.replace(SMALL, iterations=6, batch=batch), restarts=2) for batch in (3, 1)
    )
    list(together)
    list(apart)
    torch.testing.assert_close(together.images, apart.images, rtol=0, atol=1e-3)


def test_dip_restorer_steps_count_over_restarts() -> None:
    made = DipRestorer(case("denoise:sigma=80", TRUTH), SMALL, restarts=3)
    items = list(made)
    steps = [item.step for item in items if isinstance(item, Step)]
    assert steps == list(range(1, made.iterations + 1))
    assert max(item.step for item in items if isinstance(item, EarlyStopped)) == made.iterations


def test_dip_restorer_resumes_exactly() -> None:
    assert_resumes_exactly(lambda: DipRestorer(case("denoise:sigma=60", TRUTH), SMALL, restarts=2), [0, 5, 24, 29, 40])


def test_dip_spread_is_the_deviation_of_the_fits() -> None:
    made = DipRestorer(case("denoise:sigma=60", TRUTH), msgspec.structs.replace(SMALL, iterations=6), restarts=3)
    fits, known = [], []
    for item in made:
        if isinstance(item, Step) and made.fit.step == 6:
            fits.append(torch.stack(made.fit.restored).double().numpy())
            known.append(made.spread is not None)
    assert known == [False, False, True] and made.spread is not None
    np.testing.assert_allclose(made.spread.numpy(), np.std(fits, 0, ddof=1), atol=1e-5)
