"""Each classic method beats A+ y on its own task, and matches a reference implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from dipddpm.core.config import parse_task
from dipddpm.core.data import procedural
from dipddpm.core.degrade import degrade
from dipddpm.core.degrade.case import Case
from dipddpm.core.images import to_unit
from dipddpm.core.methods.classical import filters
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
def test_restore_classic_beats_pseudo_inverse(text: str) -> None:
    given = case(text)
    restored = filters.restore_classic(given)
    assert restored.shape == X0.shape
    gain = psnr(restored, X0) - psnr(given.degradation.operator.pinv(given.y), X0)
    assert gain.mean() > 0.5


def test_restore_classic_fills_impulses_only() -> None:
    given = case("denoise:noise=salt-and-pepper,hit=0.1")
    restored = filters.restore_classic(given)
    grey = (given.y > 0) & (given.y < 1)
    assert torch.equal(restored[grey], given.y[grey])
    median = torch.from_numpy(median_filter(given.y.numpy(), size=(1, 1, 3, 3), mode="reflect"))
    assert (psnr(restored, X0) - psnr(median, X0)).mean() > 3


def test_restore_classic_preserves_exact_pixels_when_inpainting() -> None:
    given = case("inpaint:missing=0.5")
    measured = given.degradation.operator.measured(given.y) == 1
    assert torch.allclose(filters.restore_classic(given)[measured], given.y[measured])


def test_restore_classic_estimates_blind_noise_level() -> None:
    known, blind = case("denoise:sigma=50"), case("denoise:sigma=50,blind=true")
    assert torch.equal(known.y, blind.y)
    a, b = filters.restore_classic(known), filters.restore_classic(blind)
    assert not torch.equal(a, b)
    assert (psnr(a, X0) - psnr(b, X0)).abs().mean() < 1.5


def test_restore_classic_wiener_matches_hunts_filter() -> None:
    given = case("deblur:width=1.5,sigma=4")
    restored = filters.restore_classic(given)[0, 0].double().numpy()
    transfer = np.fft.fft2(
        given.degradation.operator.A(torch.eye(28 * 28).view(-1, 1, 28, 28)[:1])[0, 0].double().numpy()
    )
    laplacian = np.zeros((28, 28))
    laplacian[0, 0], laplacian[0, 1], laplacian[1, 0], laplacian[0, -1], laplacian[-1, 0] = 4, -1, -1, -1, -1
    penalty = filters.BALANCE * (4 / 255) ** 2 * np.abs(np.fft.fft2(laplacian)) ** 2
    spectrum = np.conj(transfer) * np.fft.fft2(given.y[0, 0].double().numpy()) / (np.abs(transfer) ** 2 + penalty)
    assert np.allclose(restored, np.fft.ifft2(spectrum).real, atol=1e-4)
