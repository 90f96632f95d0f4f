"""Tests of the public API, used as in a notebook, on a real photo."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data, metrics

import dipddpm as dd
from dipddpm.core.config import DdpmConfig, parse_task
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.degrade import GaussianNoise
from dipddpm.core.degrade.case import Case
from dipddpm.core.runs import reference

CHECKOUT = Path(__file__).parents[1]
FEW = {"dip.iterations": 40}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Write a colour photo of 64x64 pixels and return its path."""
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()).resize((64, 64)).save(path)
    return path


@pytest.fixture
def shipped_prior(monkeypatch: pytest.MonkeyPatch) -> TrainedModel:
    """Load the prior that ships with the program, which is hidden from tests by default."""
    monkeypatch.setattr(reference, "FOLDER", CHECKOUT / "runs/reference")
    return dd.load_prior(device="cpu")


def digits(count: int) -> torch.Tensor:
    """Return smooth 28x28 grey images."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(count, 1, 7, 7, generator=generator)
    return torch.nn.functional.interpolate(small, size=28, mode="bilinear")


def test_public_names_exist_and_match_type_checking_imports() -> None:
    assert set(dd.__all__) == set(dd._PUBLIC)
    assert set(dd.__all__) <= set(dir(dd))
    for name in dd.__all__:
        assert getattr(dd, name) is not None
    tree = ast.parse((CHECKOUT / "dipddpm/__init__.py").read_text())
    imported = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == dd._PUBLIC
    assert dd.__version__
    with pytest.raises(AttributeError, match="no attribute 'resotre'"):
        dd.resotre  # noqa: B018


def test_restore_improves_photo_and_psnr_matches_skimage(photo: Path) -> None:
    x = dd.load_images(photo)
    y, degradation = dd.degrade("denoise:sigma=50", x, seed=0)
    restored = dd.restore(y, degradation, method="dip", settings={"dip.iterations": 150}, device="cpu")
    (value,) = dd.psnr(restored.images, x)
    assert value > dd.psnr(y, x) + 3
    truth, image = x[0].movedim(0, -1).numpy(), restored.images[0].movedim(0, -1).numpy()
    assert value == pytest.approx(metrics.peak_signal_noise_ratio(truth, image, data_range=1), abs=1e-4)
    assert restored.seconds > 0


def test_degrade_gives_measurements_of_run(photo: Path) -> None:
    x = dd.load_images(photo, photo)
    y, _ = dd.degrade("inpaint:missing=0.5,sigma=10", x, seed=3)
    case = Case.of(x, parse_task("inpaint:missing=0.5,sigma=10"), ["file 0", "file 1"], 3)
    assert torch.equal(y, case.y)
    assert not torch.equal(y[0], y[1])


def test_restoration_images_complete_interrupted_iteration(photo: Path) -> None:
    y, degradation = dd.degrade("denoise:sigma=50", dd.load_images(photo), seed=0)
    interrupted = dd.restore(y, degradation, method="dip", settings=FEW, device="cpu")
    for number, _ in enumerate(interrupted):
        if number == 5:
            break
    whole = dd.restore(y, degradation, method="dip", settings=FEW, device="cpu")
    assert torch.equal(interrupted.images, whole.images)


@pytest.mark.parametrize("method", ["ddpm", "ddnm", "diffpir", "kriging", "pinv", "guided"])
def test_restore_supports_every_kind_of_method(method: str, shipped_prior: Any) -> None:
    assert method in dd.methods()
    y, degradation = dd.degrade("inpaint:missing=0.5,sigma=5", digits(2), seed=0)
    restored = dd.restore(y, degradation, method, prior=shipped_prior, settings=FEW, device="cpu")
    assert restored.images.shape == (2, 1, 28, 28)
    assert (restored.nfe > 0) == (method not in {"kriging", "pinv"})


@pytest.mark.parametrize(("method", "samples"), [("prior-init", 3), ("guided", 0), ("pinv", 0)])
def test_restoration_has_samples_and_their_spread(method: str, samples: int, shipped_prior: Any) -> None:
    y, degradation = dd.degrade("inpaint:missing=0.5,sigma=5", digits(2), seed=0)
    settings = {**FEW, "hybrid.samples": samples, "hybrid.steps": 2} if samples else FEW
    restored = dd.restore(y, degradation, method, prior=shipped_prior, settings=settings, device="cpu")
    if not samples:
        assert restored.samples is None and restored.spread is None
        return
    assert restored.samples is not None and restored.spread is not None
    assert restored.samples.shape == (samples, 2, 1, 28, 28)
    assert restored.samples.min() >= 0 and restored.samples.max() <= 1
    assert restored.spread.shape == (2, 1, 28, 28) and restored.spread.max() > 0


def test_restore_refuses_prior_of_other_image_size(photo: Path, shipped_prior: Any) -> None:
    y, degradation = dd.degrade("denoise:sigma=50", dd.load_images(photo), seed=0)
    with pytest.raises(dd.UserError, match="trained on 28x28 grey images"):
        dd.restore(y, degradation, "calibrated", prior=shipped_prior, device="cpu")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: dd.load_images(), "No image file"),
        (lambda x: dd.degrade("denoise:sigma=25", x[0]), "float tensor"),
        (lambda x: dd.degrade("denoise:sigma=25", x * torch.nan), "not finite"),
        (lambda x: dd.describe("inpaint:missing=0.7", x), "random mask"),
        (lambda x: dd.restore(*dd.degrade("denoise", x), "dipp"), "no method 'dipp'"),
        (lambda x: dd.restore(*dd.degrade("denoise", x[..., :1]), "dip").images, "have 1x28 pixels"),
        (lambda x: dd.restore(*dd.degrade("denoise", x), "dip", settings={"dip.nothing": 1}), "dip.nothing"),
    ],
)
def test_api_refuses_invalid_calls_with_user_error(call: Any, words: str) -> None:
    with pytest.raises(dd.UserError, match=words):
        call(digits(1))


def test_describe_allows_restoration_without_truth() -> None:
    x = digits(1)
    y = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    restored = dd.restore(y, dd.describe("denoise:sigma=51", y), "nlm", device="cpu")
    assert dd.psnr(restored.images, x) > dd.psnr(y, x)


def test_describe_estimates_noise_that_the_task_leaves_out() -> None:
    picture = torch.linspace(0.2, 0.8, 96).expand(1, 1, 96, 96)
    y = picture + 20 / 255 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    noise = dd.describe("denoise", y.clip(0, 1)).noise
    assert isinstance(noise, GaussianNoise)
    assert 255 * noise.sigma == pytest.approx(20, rel=0.1)
    known = dd.describe("denoise:sigma=7", y).noise
    assert isinstance(known, GaussianNoise)
    assert 255 * known.sigma == pytest.approx(7)


def test_describe_allows_super_resolution_of_a_small_picture() -> None:
    x = digits(1)
    y = torch.nn.functional.avg_pool2d(x, 2)
    for method in ("bicubic", "pinv"):
        restored = dd.restore(y, dd.describe("superres:factor=2,sigma=0", y), method, device="cpu")
        assert restored.images.shape == x.shape
        assert torch.allclose(torch.nn.functional.avg_pool2d(restored.images, 2), y, atol=0.05)


@pytest.mark.usefixtures("shipped_prior")
def test_given_picture_is_restored_at_any_size_and_its_scratch_is_ignored(tmp_path: Path) -> None:
    x = torch.linspace(0.2, 0.8, 20).expand(1, 3, 20, 20).clone()
    Image.fromarray(np.where(np.arange(20) == 9, 0, 255).astype(np.uint8)[None].repeat(20, 0)).save(tmp_path / "m.png")
    y = x.clone()
    y[..., 9] = 1.0  # a white scratch
    degradation = dd.describe(f"inpaint:mask={tmp_path / 'm.png'}", y)
    assert "patch-prior" in dd.methods()
    for method in ("biharmonic", "pinv"):
        result = dd.restore(y, degradation, method, device="cpu").images
        assert result[..., 9].max() < 0.9
    noisy = dd.describe("denoise:sigma=5", x)
    assert dd.restore(x, noisy, "patch-prior", device="cpu").images.shape == x.shape


def test_train_ddpm_gives_model_that_samples() -> None:
    images = digits(32)
    small = {"unet.channels": "8", "ddpm.batch_size": 16, "ddpm.hold_out": False}
    training = dd.train_ddpm(images, epochs=1, settings=small, device="cpu")
    model = training.model
    samples = dd.sample(model, 3, steps=4)
    assert samples.shape == (3, 1, 28, 28)
    assert torch.equal(samples, dd.sample(model, 3, steps=4))
    assert 0 <= samples.min() <= samples.max() <= 1
    with pytest.raises(dd.UserError, match="no sampler"):
        dd.sample(model, sampler="heum")


class Spoilt(torch.nn.Module):
    """A network whose prediction is NaN for the first images of a batch."""

    def __init__(self, count: int, value: float) -> None:
        super().__init__()
        self.count, self.value, self.shape, self.classes = count, value, (1, 8, 8), 0

    def forward(self, xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        del t
        return torch.cat([torch.full_like(xt[: self.count], self.value), xt[self.count :]])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_sample_never_returns_unusable_samples_silently(value: float) -> None:
    options = DdpmConfig(timesteps=20)
    schedule = Schedule.from_config(options)
    for count in (1, 3):
        model = TrainedModel(Spoilt(count, value), schedule, options, torch.device("cpu"))
        if count == 3:
            with pytest.raises(dd.UserError, match="3 of 3 samples"):
                dd.sample(model, 3, steps=4)
        else:
            with pytest.warns(RuntimeWarning, match="1 of 3 samples"):
                samples = dd.sample(model, 3, steps=4)
            assert samples[1:].isfinite().all()


def test_restore_raises_if_fit_diverges() -> None:
    y, degradation = dd.degrade("denoise:sigma=25", torch.rand(1, 1, 16, 16))
    fit = dd.restore(y, degradation, method="dip", settings={"dip.lr": 1e30, "dip.iterations": 12})
    with pytest.raises(dd.UserError, match="diverged"):
        fit.run()
