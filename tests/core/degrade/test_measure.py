from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve

from dipddpm.core.config import Deblur, Denoise, Inpaint, Superres, parse_task
from dipddpm.core.degrade import Degradation, SaltAndPepper, degrade
from dipddpm.core.errors import UserError
from dipddpm.core.images import save_png

X0 = torch.rand(4, 1, 40, 50, generator=torch.Generator().manual_seed(0))

texts = st.sampled_from(
    [
        "denoise:sigma=12.3456789",
        "denoise:noise=poisson,photons=9",
        "inpaint:missing=0.7,sigma=10",
        "inpaint:box=5,noise=salt-and-pepper,hit=0.2",
        "superres:factor=4,sigma=2",
        "deblur:kernel=gaussian,width=2,sigma=1",
        "deblur:kernel=motion,width=9,angle=45,sigma=0",
    ]
)


@settings(max_examples=20, deadline=None)
@given(texts, st.integers(0, 2**62))
def test_degrade_depends_on_seed_of_image_alone(text: str, seed: int) -> None:
    task = parse_task(text)
    y, _ = degrade(task, X0, [seed, seed + 1, seed + 2, seed + 3])
    alone, _ = degrade(task, X0[2:3], [seed + 2])
    assert torch.equal(y[2:3], alone)
    other, _ = degrade(task, X0[2:3], [seed + 7])
    if text != "deblur:kernel=motion,width=9,angle=45,sigma=0":  # this task has no random draws
        assert not torch.equal(other, alone)


def test_gaussian_noise_has_its_sigma_and_is_not_clipped() -> None:
    y, degradation = degrade(Denoise(sigma=100), X0, range(4))
    noise = y - X0
    assert noise.std().item() == pytest.approx(100 / 255, rel=0.03)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert y.min() < -0.2
    expected = degradation.expected_residual(y)
    assert expected is not None
    assert torch.allclose(expected, torch.full((4,), (100 / 255) ** 2))


@pytest.mark.parametrize(
    "text",
    [
        "denoise:sigma=30",
        "denoise:noise=poisson,photons=5",
        "denoise:noise=poisson-gaussian,photons=5,sigma=60",
        "inpaint:missing=0.4,sigma=30",
    ],
)
def test_expected_residual_matches_residual_of_truth(text: str) -> None:
    y, degradation = degrade(parse_task(text), X0, range(4))
    measured = degradation.operator.measured(y)
    residual = ((degradation.operator.A(X0) - y).square() * measured).flatten(1).sum(1) / measured.flatten(1).sum(1)
    expected = degradation.expected_residual(y)
    assert expected is not None
    assert torch.allclose(expected, residual, rtol=0.15)


def test_unknown_noise_is_not_added() -> None:
    with pytest.raises(UserError, match="Unknown noise can't be added"):
        degrade(parse_task("denoise", given=True), X0, range(4))


def test_impulses_may_come_with_gaussian_noise() -> None:
    x = torch.full((1, 1, 200, 200), 0.5)
    y = SaltAndPepper(0.2, sigma=0.05).add(x, torch.Generator().manual_seed(0))
    others = y[(y > 0) & (y < 1)]
    assert others.std().item() == pytest.approx(0.05, rel=0.03)
    assert others.numel() / y.numel() == pytest.approx(0.8, abs=0.01)


def test_kernel_file_blurs_like_scipy(tmp_path: Path) -> None:
    kernel = np.random.default_rng(0).random((5, 3))
    np.save(tmp_path / "k.npy", kernel)
    y, _ = degrade(parse_task(f"deblur:kernel=file,file={tmp_path}/k.npy"), X0, range(4))
    expected = convolve(X0[0, 0].double().numpy(), kernel / kernel.sum(), mode="wrap")
    np.testing.assert_allclose(y[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("text", ["denoise:noise=salt-and-pepper", "superres:factor=2"])
def test_expected_residual_is_none_without_known_noise(text: str) -> None:
    y, degradation = degrade(parse_task(text), X0, range(4))
    assert degradation.expected_residual(y) is None


def test_poisson_noise_gives_whole_counts_with_right_moments() -> None:
    y, _ = degrade(Denoise(noise="poisson", photons=20), torch.full((1, 1, 100, 100), 0.5), [0])
    assert torch.allclose(y * 20, (y * 20).round(), atol=1e-4)
    assert y.mean().item() == pytest.approx(0.5, rel=0.02)
    assert y.var().item() == pytest.approx(0.5 / 20, rel=0.06)


def test_salt_and_pepper_noise_replaces_given_share() -> None:
    y, _ = degrade(Denoise(noise="salt-and-pepper", hit=0.3), torch.full((1, 1, 100, 100), 0.5), [0])
    assert (y == 0).float().mean().item() == pytest.approx(0.15, abs=0.015)
    assert (y == 1).float().mean().item() == pytest.approx(0.15, abs=0.015)


def test_inpaint_hides_all_channels_of_missing_pixel() -> None:
    x0 = torch.rand(2, 3, 20, 20)
    y, degradation = degrade(Inpaint(missing=0.7, sigma=10), x0, [5, 6])
    measured = degradation.operator.measured(y)
    assert measured[:, 0].sum((1, 2)).tolist() == [120, 120]
    assert torch.equal(measured[:, 0], measured[:, 2])
    assert not torch.equal(measured[0], measured[1])
    assert (y[measured == 0] == 0).all()


def test_inpaint_box_lies_in_middle() -> None:
    _, degradation = degrade(Inpaint(box=2), torch.rand(1, 1, 6, 4), [0])
    missing = 1 - degradation.operator.measured(torch.ones(1, 1, 6, 4))
    assert missing[0, 0].nonzero().tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]


def test_inpaint_uses_pixels_of_mask_file(tmp_path: Path) -> None:
    mask = (torch.rand(1, 8, 9) > 0.5).float()
    save_png(tmp_path / "mask.png", mask)
    _, degradation = degrade(Inpaint(mask=str(tmp_path / "mask.png")), torch.rand(1, 1, 8, 9), [0])
    assert torch.equal(degradation.operator.measured(torch.ones(1, 1, 8, 9))[0], mask)


def test_inpaint_refuses_mask_that_does_not_fit(tmp_path: Path) -> None:
    save_png(tmp_path / "mask.png", torch.ones(1, 8, 9))
    with pytest.raises(UserError, match=r"9x8 pixels and the image 28x28"):
        degrade(Inpaint(mask=str(tmp_path / "mask.png")), torch.rand(1, 1, 28, 28), [0])
    save_png(tmp_path / "black.png", torch.zeros(1, 28, 28))
    with pytest.raises(UserError, match="leaves no pixel"):
        degrade(Inpaint(mask=str(tmp_path / "black.png")), torch.rand(1, 1, 28, 28), [0])
    with pytest.raises(UserError, match="leaves no pixel"):
        degrade(Inpaint(box=28), torch.rand(1, 1, 28, 28), [0])


@pytest.mark.parametrize("task", [Superres(factor=4), Deblur(kernel="motion", width=60, angle=20)])
def test_degrade_measures_images_smaller_than_kernel(task: Superres | Deblur) -> None:
    x0 = torch.rand(1, 1, 3, 7)
    y, degradation = degrade(task, x0, [0])
    assert y.mean().item() == pytest.approx(x0.mean().item(), abs=0.2)
    assert degradation.operator.adjoint(y).shape == x0.shape


def test_degradation_measure_repeats_with_same_generator() -> None:
    degradation = Degradation.from_task(Denoise(), (40, 50), torch.Generator().manual_seed(3))
    first = degradation.measure(X0, torch.Generator().manual_seed(4))
    assert torch.equal(first, degradation.measure(X0, torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("text", ["denoise:sigma=50", "inpaint:missing=0.5,noise=poisson", "superres:sigma=9"])
def test_blind_task_has_same_measurements_without_noise_level(text: str) -> None:
    y, known = degrade(parse_task(text), X0, range(4))
    blind_y, blind = degrade(parse_task(f"{text},blind=true"), X0, range(4))
    assert torch.equal(y, blind_y)
    assert known.expected_residual(y) is not None
    assert blind.blind
    for degradation in (blind, blind.select([1, 2]), blind.to("cpu")):
        assert degradation.expected_residual(y[1:3]) is None
        assert degradation.noise.kind == known.noise.kind
