from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipddpm.core.config import parse_task
from dipddpm.core.degrade import CircularBlur, degrade
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.simplify import STRENGTH, equalize_spectrum
from tests.core.methods.cases import case, shapes

TRUTH = shapes(3, size=16)


@pytest.mark.parametrize("task", ["deblur:width=1.5,sigma=2", "deblur:width=1", "deblur:kernel=motion,width=5,sigma=1"])
def test_equalize_spectrum_evens_frequencies_of_same_measurement(task: str) -> None:
    before = case(task, TRUTH)
    even = equalize_spectrum(before)
    blur, noise = before.degradation.operator, 0.0
    variance = before.degradation.expected_residual(before.y)
    if variance is not None:
        noise = variance[0].sqrt().item()
    assert isinstance(blur, CircularBlur) and isinstance(even.degradation.operator, CircularBlur)
    was, now = blur.transfer.abs(), even.degradation.operator.transfer.abs()
    assert ((now > 0) == (was > 0)).all() and (now <= 1 + 1e-6).all()
    seen = was > 2 * max(STRENGTH * noise, 1e-3)
    assert seen.any() and (now[seen] > 0.89).all()
    # What was said of the image is said of it still, and nothing else.
    residual = blur.pinv(before.y) - even.degradation.operator.pinv(even.y)
    assert residual.abs().max() < 1e-2


@settings(max_examples=8, deadline=None)
@given(sigma=st.floats(1, 40), width=st.floats(0.5, 2))
def test_equalize_spectrum_reports_level_of_its_noise(sigma: float, width: float) -> None:
    count = 60
    x = shapes(1, size=16).expand(count, -1, -1, -1)
    y, degradation = degrade(parse_task(f"deblur:width={width},sigma={sigma}"), x, range(count))
    even = equalize_spectrum(Case(y, degradation, (count, 1, 16, 16)))
    told = even.degradation.expected_residual(even.y)
    assert told is not None
    noise = even.y - even.degradation.operator.A(x)
    assert noise.square().mean().item() == pytest.approx(told[0].item(), rel=0.15)


@pytest.mark.parametrize("task", ["denoise:sigma=25", "inpaint:missing=0.5", "deblur:noise=salt-and-pepper"])
def test_equalize_spectrum_leaves_other_tasks_unchanged(task: str) -> None:
    before = case(task, TRUTH)
    assert equalize_spectrum(before) is before
