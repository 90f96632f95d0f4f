from __future__ import annotations

import pytest
import torch

from dipddpm.core.degrade import Degradation, Identity, Mask, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.classical.impulses import detect_impulses
from tests.core.methods.cases import case, shapes

SMOOTH = torch.linspace(0.2, 0.8, 24).expand(2, 1, 24, 24).contiguous()


def test_all_impulses_on_smooth_image_are_detected() -> None:
    given = case("denoise:noise=salt-and-pepper,hit=0.2", SMOOTH)
    operator = detect_impulses(given).degradation.operator
    assert isinstance(operator, Mask)
    assert torch.equal(operator.mask > 0, given.y == SMOOTH)


def test_clusters_that_defeat_a_median_are_detected() -> None:
    """In a block of 3x3 white pixels, the 3x3 median is white too."""
    y = SMOOTH.clone()
    y[:, :, 8:11, 8:11] = 1
    mask = detect_impulses(Case(y, Degradation(Identity(), SaltAndPepper(0.1)), (2, 1, 24, 24))).degradation.operator
    assert isinstance(mask, Mask)
    found = (mask.mask == 0)[:, :, 8:11, 8:11].float().mean().item()
    assert found > 0.6
    assert int((mask.mask == 0).sum()) <= 18


def test_true_black_areas_are_left() -> None:
    dark = SMOOTH.clone()
    dark[:, :, :, :12] = 0
    given = case("denoise:noise=salt-and-pepper,hit=0.1", dark)
    mask = detect_impulses(given).degradation.operator
    assert isinstance(mask, Mask)
    assert mask.mask[:, :, :, :10].mean().item() > 0.9


@pytest.mark.parametrize("task", ["denoise:sigma=25", "superres:factor=2,noise=salt-and-pepper", "inpaint:missing=0.5"])
def test_other_cases_stay_as_they_are(task: str) -> None:
    given = case(task, shapes(2))
    assert detect_impulses(given) is given


def test_each_image_is_treated_by_itself() -> None:
    given = case("denoise:noise=salt-and-pepper,hit=0.2", SMOOTH + 0.1 * shapes(2, size=24))
    whole = detect_impulses(given)
    for index in range(2):
        one = Case(given.y[[index]], given.degradation, (1, 1, 24, 24))
        assert torch.equal(detect_impulses(one).y, whole.y[[index]])
