"""Each classic method matches its reference implementation, and takes pictures of any size and number of channels."""

from __future__ import annotations

import builtins
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import median_filter
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet, inpaint_biharmonic
from torch import Tensor

import dipddpm as dd
from dipddpm.core.degrade import (
    BlockMean,
    CircularBlur,
    Degradation,
    GaussianNoise,
    Identity,
    Mask,
    MaskedOperator,
    Noise,
    Operator,
    PoissonNoise,
    SaltAndPepper,
)
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.measure import gaussian_kernel
from dipddpm.core.degrade.noise import PoissonGaussianNoise
from dipddpm.core.errors import UserError
from dipddpm.core.methods.classical import denoisers, pictures
from dipddpm.core.methods.classical.pictures import task_of
from dipddpm.core.methods.classical.table import CLASSICS

SIZES = [(1, 1), (1, 9), (7, 1), (2, 3), (19, 33)]


def scene(channels: int = 3, side: int = 64) -> Tensor:
    """Draw a picture of a shaded disc on a shaded background, (1, C, side, side)."""
    down, right = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    disc = ((down - 0.5) ** 2 + (right - 0.4) ** 2 < 0.08).float()
    planes = [0.3 + 0.2 * right + disc * (0.4 - 0.25 * channel * down) for channel in range(channels)]
    return torch.stack(planes)[None]


def case_of(x: Tensor, operator: Operator, noise: Noise, seed: int = 0) -> Case:
    """Measure pictures with noise that numpy draws."""
    rng = np.random.default_rng(seed)
    y = operator.A(x)
    if isinstance(noise, GaussianNoise):
        y = y + noise.sigma * torch.from_numpy(rng.standard_normal(y.shape)).float()
    elif isinstance(noise, PoissonNoise):
        y = torch.from_numpy(rng.poisson(y.clamp(min=0) * noise.photons) / noise.photons).float()
        y = y + getattr(noise, "sigma", 0.0) * torch.from_numpy(rng.standard_normal(y.shape)).float()
    elif isinstance(noise, SaltAndPepper):
        hit = torch.from_numpy(rng.random(y.shape))
        y = torch.where(hit < noise.hit / 2, 0.0, torch.where(hit > 1 - noise.hit / 2, 1.0, y))
    return Case(y * operator.measured(y), Degradation(operator, noise), (*x.shape,))


def psnr(truth: Tensor, image: Tensor) -> float:
    return float(peak_signal_noise_ratio(truth.double().numpy(), image.double().numpy(), data_range=1))


def operators(n: int, size: tuple[int, int]) -> list[Operator]:
    mask = (torch.from_numpy(np.random.default_rng(1).random((n, 1, *size))) < 0.5).float()
    return [Identity(), Mask(mask), BlockMean(2, size), CircularBlur(gaussian_kernel(1.0), size)]


NOISES = [
    GaussianNoise(0.1),
    GaussianNoise(0.0),
    PoissonNoise(30.0),
    PoissonGaussianNoise(30.0, 0.05),
    SaltAndPepper(0.2),
]
SUPPORTED = [
    (name, index, noise)
    for name, classic in CLASSICS.items()
    if not classic.extra
    for index, operator in enumerate(operators(1, (4, 4)))
    for noise in NOISES
    if classic.supports(task_of(operator), noise.kind)
]


@pytest.mark.parametrize(("name", "index", "noise"), SUPPORTED)
@pytest.mark.parametrize("size", SIZES)
def test_classics_take_every_size(name: str, index: int, noise: Noise, size: tuple[int, int]) -> None:
    for channels in (1, 4):
        x = torch.rand(1, channels, *size) * 1.4 - 0.2
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            restored = CLASSICS[name].restore(case_of(x, operators(1, size)[index], noise))
        assert restored.shape == x.shape
        assert restored.dtype == torch.float32
        assert restored.isfinite().all()


@pytest.mark.parametrize(("name", "index", "noise"), SUPPORTED)
def test_classics_restore_each_picture_by_itself(name: str, index: int, noise: Noise) -> None:
    x = torch.rand(3, 2, 20, 17)
    case = case_of(x, operators(3, (20, 17))[index], noise)
    turned = Case(case.y.flip(0), case.degradation.select([2, 1, 0]), case.shape)
    assert torch.equal(CLASSICS[name].restore(turned), CLASSICS[name].restore(case).flip(0))


@pytest.mark.parametrize(("name", "index", "noise"), SUPPORTED)
def test_classics_improve_on_measurements(name: str, index: int, noise: Noise) -> None:
    x = scene()
    case = case_of(x, operators(1, (64, 64))[index], noise)
    before = psnr(x, case.degradation.operator.pinv(case.y))
    assert psnr(x, CLASSICS[name].restore(case)) > min(before + 0.3, 30)


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 28), (1, 65), (2, 65), (3, 65)])
def test_nlm_matches_skimage(channels: int, side: int) -> None:
    case = case_of(scene(channels, side), Identity(), GaussianNoise(0.1))
    y = case.y[0].movedim(0, -1).double().numpy()
    h, fast = (0.11, False) if side == 28 else (0.06, True)
    expected = denoise_nl_means(y, patch_size=5, patch_distance=6, h=h, sigma=0.1, fast_mode=fast, channel_axis=-1)
    restored = CLASSICS["nlm"].restore(case)[0].movedim(0, -1)
    np.testing.assert_allclose(restored.numpy(), expected.reshape(y.shape), atol=1e-6)


@pytest.mark.parametrize(("side", "wavelet", "levels"), [(28, "haar", 4), (80, "db2", 4)])
def test_wavelet_averages_shifts_of_skimage(side: int, wavelet: str, levels: int) -> None:
    case = case_of(scene(1, side), Identity(), GaussianNoise(0.1))
    y = case.y[0, 0].double().numpy()
    expected = np.zeros_like(y)
    for down in range(4):
        for right in range(4):
            shifted = np.roll(y, (down, right), (0, 1))
            denoised = denoise_wavelet(shifted, sigma=0.1, wavelet=wavelet, rescale_sigma=False, wavelet_levels=levels)
            expected += np.roll(denoised, (-down, -right), (0, 1)) / 16
    np.testing.assert_allclose(CLASSICS["wavelet"].restore(case)[0, 0].numpy(), expected, atol=1e-6)


def test_tv_weight_is_nearly_the_best() -> None:
    """Of a dozen weights, none is much better for noise in a channel that is almost flat, as chroma is."""
    rng = np.random.default_rng(0)
    plane = np.add.outer(np.linspace(0, 0.1, 64), (np.arange(64) > 30) * 0.2)
    noisy = plane + 0.2 * rng.standard_normal(plane.shape)
    errors = [
        np.square(denoise_tv_chambolle(noisy, weight=0.2 * share, eps=1e-6) - plane).mean()
        for share in np.geomspace(0.3, 4, 12)
    ]
    ours = np.square(denoisers.total_variation(noisy[None], 0.2)[0] - plane).mean()
    assert ours < 2 * min(errors)


def test_biharmonic_matches_skimage_without_noise() -> None:
    case = case_of(scene(), operators(1, (64, 64))[1], GaussianNoise(0.0))
    missing = case.degradation.operator.measured(case.y)[0, 0].numpy() == 0
    expected = inpaint_biharmonic(case.y[0].double().numpy(), missing, channel_axis=0)
    np.testing.assert_allclose(CLASSICS["biharmonic"].restore(case)[0].numpy(), expected, atol=1e-6)


def test_median_matches_scipy() -> None:
    case = case_of(scene(1), Identity(), SaltAndPepper(0.4))
    expected = median_filter(case.y[0, 0].numpy(), size=5)
    np.testing.assert_array_equal(CLASSICS["median"].restore(case)[0, 0].numpy(), expected)


def test_bm3d_is_as_good_as_package_and_takes_grey_as_rgb() -> None:
    """The package's own conversion of colours divides by zero if all channels are equal."""
    package = pytest.importorskip("bm3d")
    x = scene(side=32)
    case = case_of(x, Identity(), GaussianNoise(0.1))
    expected = torch.from_numpy(package.bm3d_rgb(case.y[0].movedim(0, -1).double().numpy(), 0.1)).movedim(-1, 0)
    assert psnr(x, CLASSICS["bm3d"].restore(case)) == pytest.approx(psnr(x[0], expected), abs=0.2)
    grey = replace(case, y=case.y[:, :1].expand_as(x))
    assert CLASSICS["bm3d"].restore(grey).isfinite().all()


def test_bm3d_without_package_names_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "bm3d":
            raise ImportError
        return imported(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"non-commercial use only. Install dipddpm\[bm3d\]"):
        CLASSICS["bm3d"].restore(case_of(scene(), Identity(), GaussianNoise(0.1)))


@settings(max_examples=100, deadline=None)
@given(channels=st.integers(1, 5), height=st.integers(1, 6), seed=st.integers(0, 99))
def test_orthogonal_colours_preserve_noise_and_return(channels: int, height: int, seed: int) -> None:
    picture = np.random.default_rng(seed).standard_normal((channels, height, 3))
    transformed = pictures.to_orthogonal(picture)
    np.testing.assert_allclose((transformed**2).sum(0), (picture**2).sum(0))
    np.testing.assert_allclose(transformed[0], picture.mean(0) * channels**0.5)
    np.testing.assert_allclose(pictures.from_orthogonal(transformed), picture)


def test_denoisers_fill_hidden_measurements() -> None:
    """Methods are compared by measurements that are hidden from them."""
    x = scene()
    hidden = torch.from_numpy(np.random.default_rng(0).random(x.shape)).gt(0.1).float()[:, :1].expand_as(x)
    case = case_of(x, MaskedOperator(Identity(), hidden), GaussianNoise(0.1))
    assert psnr(x[hidden == 0], CLASSICS["tv"].restore(case)[hidden == 0]) > 23


def test_photon_counts_are_stabilised() -> None:
    """The same denoiser with the mean level everywhere is worse."""
    x = scene() ** 2
    case = case_of(x, Identity(), PoissonNoise(20.0))
    variance = float((x / 20).mean())
    mean_level = replace(case, degradation=Degradation(Identity(), GaussianNoise(variance**0.5)))
    classic = CLASSICS["nlm"]
    assert psnr(x, classic.restore(case)) > psnr(x, classic.restore(mean_level)) + 1


def test_api_restores_by_name_and_refuses_other_tasks() -> None:
    x = scene(side=24)
    y, degradation = dd.degrade("denoise:sigma=25", x)
    assert set(CLASSICS) <= set(dd.methods())
    restored = dd.restore(y, degradation, "wavelet", device="cpu").images
    assert torch.equal(restored, CLASSICS["wavelet"].restore(Case(y, degradation, (1, 3, 24, 24))).clip(0, 1))
    with pytest.raises(UserError, match=r"wiener doesn't restore denoise with gaussian noise. Take nlm or tv or"):
        dd.restore(y, degradation, "wiener", device="cpu")
