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
def test_equalize_spectrum_equalizes_gains_of_same_measurement(task: str) -> None:
    original = case(task, TRUTH)
    equalized = equalize_spectrum(original)
    blur, noise = original.degradation.operator, 0.0
    variance = original.degradation.expected_residual(original.y)
    if variance is not None:
        noise = variance[0].sqrt().item()
    assert isinstance(blur, CircularBlur) and isinstance(equalized.degradation.operator, CircularBlur)
    gain_before, gain = blur.transfer.abs(), equalized.degradation.operator.transfer.abs()
    assert ((gain > 0) == (gain_before > 0)).all() and (gain <= 1 + 1e-6).all()
    well_measured = gain_before > 2 * max(STRENGTH * noise, 1e-3)
    assert well_measured.any() and (gain[well_measured] > 0.89).all()
    # Both cases determine the same image.
    difference = blur.pinv(original.y) - equalized.degradation.operator.pinv(equalized.y)
    assert difference.abs().max() < 1e-2


@settings(max_examples=8, deadline=None)
@given(sigma=st.floats(1, 40), width=st.floats(0.5, 2))
def test_equalize_spectrum_reports_level_of_its_noise(sigma: float, width: float) -> None:
    count = 60
    x = shapes(1, size=16).expand(count, -1, -1, -1)
    y, degradation = degrade(parse_task(f"deblur:width={width},sigma={sigma}"), x, range(count))
    equalized = equalize_spectrum(Case(y, degradation, (count, 1, 16, 16)))
    expected = equalized.degradation.expected_residual(equalized.y)
    assert expected is not None
    noise = equalized.y - equalized.degradation.operator.A(x)
    assert noise.square().mean().item() == pytest.approx(expected[0].item(), rel=0.15)


@pytest.mark.parametrize("task", ["denoise:sigma=25", "inpaint:missing=0.5", "deblur:noise=salt-and-pepper"])
def test_equalize_spectrum_leaves_other_tasks_unchanged(task: str) -> None:
    original = case(task, TRUTH)
    assert equalize_spectrum(original) is original
