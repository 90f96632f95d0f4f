"""The classic methods at their best on images of 28x28 pixels, with which learned methods are compared."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import median_filter

from dipddpm.core.config import parse_task
from dipddpm.core.data import procedural
from dipddpm.core.degrade import degrade
from dipddpm.core.degrade.case import Case
from dipddpm.core.images import to_unit
from dipddpm.core.methods.classical import nl_bayes
from dipddpm.core.methods.classical.pictures import task_of
from dipddpm.core.methods.classical.table import CLASSICS
from dipddpm.core.metrics.image import psnr

X0 = to_unit(procedural.load("leaves", 4).images)


def case(text: str) -> Case:
    y, degradation = degrade(parse_task(text), X0, range(4))
    return Case(y, degradation, (4, 1, 28, 28))


@pytest.mark.parametrize(
    "text",
    [
        "denoise:sigma=25",
        "denoise:sigma=50,blind=true",
        "denoise:noise=poisson,photons=20",
        "denoise:noise=salt-and-pepper,hit=0.2",
        "inpaint:missing=0.7,sigma=5",
        "superres:factor=4",
        "deblur:width=1.5,sigma=2",
        "deblur:kernel=motion,width=5,angle=30,sigma=5",
    ],
)
def test_classics_beat_pseudo_inverse(text: str) -> None:
    given = case(text)
    plain = psnr(given.degradation.operator.pinv(given.y), X0)
    task, noise = task_of(given.degradation.operator), given.degradation.noise.kind
    names = [name for name, classic in CLASSICS.items() if classic.supports(task, noise) and not classic.extra]
    gains = {name: (psnr(CLASSICS[name].restore(given), X0) - plain).mean().item() for name in names}
    assert min(gains.values()) > 0.5, gains


@pytest.mark.parametrize("name", ["kriging", "biharmonic"])
def test_classics_fill_impulses_only(name: str) -> None:
    given = case("denoise:noise=salt-and-pepper,hit=0.1")
    restored = CLASSICS[name].restore(given)
    grey = (given.y > 0) & (given.y < 1)
    assert torch.equal(restored[grey], given.y[grey])
    median = torch.from_numpy(median_filter(given.y.numpy(), size=(1, 1, 3, 3), mode="reflect"))
    assert (psnr(restored, X0) - psnr(median, X0)).mean() > 3


def test_small_images_have_settings_that_suit_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given = case("denoise:sigma=50")
    restored = CLASSICS["nl-bayes"].restore(given)
    monkeypatch.setattr(nl_bayes, "SMALL", nl_bayes.STRONG)
    assert (psnr(restored, X0) - psnr(CLASSICS["nl-bayes"].restore(given), X0)).mean() > 0.1
