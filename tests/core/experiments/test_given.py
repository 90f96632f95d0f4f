"""Runs on given pictures: the measurements of a usual run, given back, are restored as in that run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dipddpm.core import config as configs
from dipddpm.core import registry
from dipddpm.core.errors import UserError
from dipddpm.core.events import (
    EarlyStopped,
    FitMeasured,
    GivenRestored,
    Item,
    Message,
    NoiseEstimated,
    Pictures,
    PsnrMeasured,
    QualityPredicted,
    RestorationsCompared,
    RestorationScored,
    RestoredImages,
    SpreadMeasured,
    StopsCompared,
    Tensors,
)
from dipddpm.core.runs import Run

TINY = {
    "data.dataset": "fashion-mini",
    "images.split": "train",
    "images.indices": "3",
    "dip.iterations": 8,
    "dip.channels": 4,
    "dip.input_channels": 4,
    "dip.measure_every": 4,
}
FEW = {"iterations": 6, "steps": 2, "trial_samples": 1, "samples": 1, "folds": 2, "restarts": 1}
QUICK: dict[str, dict[str, Any]] = {"calibrated": {f"hybrid__{name}": n for name, n in FEW.items()}, "guided": {}}
MASKED = "inpaint:mask={mask},sigma=10"
TASKS = {
    "denoise:sigma=25": "denoise:sigma=25",
    "denoise:noise=salt-and-pepper": "denoise:noise=salt-and-pepper",
    "inpaint:missing=0.4,sigma=10": MASKED,
    "superres:factor=2,sigma=3": "superres:factor=2,sigma=3",
    "deblur:width=1.5,sigma=2": "deblur:width=1.5,sigma=2",
}


@pytest.fixture(scope="module")
def prior(train_prior: Callable[[dict[str, Any]], Run]) -> str:
    """Train a tiny prior in a run, and return its folder."""
    options = {"timesteps": 20, "samples": 0, "hold_out": False}
    run = train_prior(
        {"data.dataset": "fashion-mini", "data.train_images": 64, **{f"ddpm.{k}": v for k, v in options.items()}}
    )
    return str(run.folder)


def items_of(kind: str, task: str, **settings: Any) -> list[Item]:
    method = settings.pop("method", None)
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    config = configs.build(kind, method=method, task=task, settings=TINY | dotted)
    return list(registry.resolve(configs.experiment_path(config)).from_config(config, "cpu"))


def find(items: list[Item], kind: type[Any]) -> list[Any]:
    return [item for item in items if isinstance(item, kind)]


def restored(items: list[Item]) -> Tensor:
    images = [image for result in find(items, RestoredImages) for image in result.restored]
    return torch.stack(images + [image for result in find(items, GivenRestored) for image in result.images])


def save_measurement(items: list[Item], folder: Path) -> tuple[str, str]:
    """Save y as an array, without rounding or clipping, and the measured pixels as a picture."""
    (measurement,) = find(items, Tensors)
    y, measured = (measurement.tensors[name][0][0].numpy() for name in ("y", "measured"))
    np.save(folder / "y.npy", y)
    Image.fromarray((measured * 255).astype(np.uint8)).save(folder / "mask.png")
    return str(folder / "y.npy"), str(folder / "mask.png")


@pytest.mark.parametrize("task", TASKS)
def test_dip_restores_measurement_given_back_as_in_the_run_that_made_it(task: str, tmp_path: Path) -> None:
    usual = items_of("dip", task)
    y, mask = save_measurement(usual, tmp_path)
    given = items_of("dip", TASKS[task].format(mask=mask), images__given=(y,))
    assert float((restored(given) - restored(usual)).abs().max()) < 1e-4
    assert not find(given, PsnrMeasured) + find(given, StopsCompared)
    assert all(stop.psnr is None for stop in find(given, EarlyStopped))
    assert [fit.step for fit in find(given, FitMeasured)] == [4, 8]
    (quality,) = find(given, QualityPredicted)
    assert (quality.name, quality.method, quality.predicted_psnr) == ("y", "dip", None)
    assert [picture.panels for picture in find(given, Pictures)] == [("degraded", "restored", "difference")]


def test_fit_of_given_picture_measures_residual_and_noise_in_grey_levels(tmp_path: Path) -> None:
    usual = items_of("dip", "inpaint:missing=0.4,sigma=10")
    y, mask = save_measurement(usual, tmp_path)
    items = items_of("dip", MASKED.format(mask=mask), images__given=(y,), dip__average=0.0)
    (quality,) = find(items, QualityPredicted)
    known = np.asarray(Image.open(mask)) > 0
    misfit = 255 * (restored(items)[0, 0].numpy() - np.load(y))[known]
    assert quality.residual == pytest.approx(np.sqrt(np.mean(misfit**2)), rel=1e-4)
    assert quality.noise == pytest.approx(10)
    measured = find(items, FitMeasured)
    assert measured[-1].noise == [pytest.approx(10)]
    assert measured[-1].residual == [pytest.approx(quality.residual, rel=1e-4)]  # the last iteration is the best so far


def test_fit_of_given_picture_measures_held_out_error(tmp_path: Path) -> None:
    y, _ = save_measurement(items_of("dip", "denoise:sigma=25"), tmp_path)
    items = items_of("dip", "denoise:sigma=25", images__given=(y,), dip__stop="held-out")
    assert all(len(fit.held_out) == 1 and fit.held_out[0] > 0 for fit in find(items, FitMeasured))
    without = items_of("dip", "denoise:sigma=25", images__given=(y,))
    assert all(not fit.held_out for fit in find(without, FitMeasured))


def test_given_picture_with_truth_is_measured_as_in_a_usual_run(tmp_path: Path) -> None:
    usual = items_of("dip", "denoise:sigma=25")
    y, _ = save_measurement(usual, tmp_path)
    truth = np.random.default_rng(0).random((28, 28), np.float32)
    np.save(tmp_path / "truth.npy", truth)
    items = items_of("dip", "denoise:sigma=25", images__given=(y,), images__truth=(str(tmp_path / "truth.npy"),))
    assert torch.equal(restored(items), restored(usual))
    error = np.mean((restored(items)[0, 0].numpy().clip(0, 1) - truth) ** 2)
    (stops,) = find(items, StopsCompared)
    assert stops.psnr == [pytest.approx(-10 * np.log10(error), abs=1e-3)]
    assert find(items, PsnrMeasured)
    assert not find(items, FitMeasured) + find(items, QualityPredicted)


def test_given_pictures_of_several_sizes_are_restored_at_their_own_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name, shape in {"a": (12, 20), "b": (15, 9), "c": (12, 20)}.items():
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / f"{name}.png")
    files = tuple(str(tmp_path / f"{name}.png") for name in "abc")
    items = items_of("dip", "superres:factor=2,sigma=3", images__given=files)
    results = find(items, GivenRestored)
    assert [(result.file, result.name) for result in results] == list(zip(files, "abc", strict=True))
    shapes = [tuple(image.shape) for result in results for image in result.images]
    assert shapes == [(1, 24, 40), (1, 30, 18), (1, 24, 40)]
    assert [quality.name for quality in find(items, QualityPredicted)] == ["a", "b", "c"]


def test_pages_of_given_stack_are_restored_into_one_file(tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", np.random.default_rng(2).random((3, 9, 12), np.float32))
    items = items_of("dip", "denoise:sigma=25", images__given=(str(tmp_path / "stack.npy"),))
    (result,) = find(items, GivenRestored)
    assert (result.name, len(result.images)) == ("stack", 3)
    assert [quality.name for quality in find(items, QualityPredicted)] == [f"stack-page-{page}" for page in (1, 2, 3)]


@pytest.mark.parametrize("kind", ["dip", "hybrid"])
def test_noise_of_given_picture_is_estimated_unless_the_task_names_it(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat(np.repeat(rng.integers(60, 190, (4, 4)), 16, 0), 16, 1)
    for name, sigma in {"weak": 8, "strong": 30}.items():
        noisy = truth + rng.normal(0, sigma, truth.shape)
        Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8)).save(tmp_path / f"{name}.png")
    files = tuple(str(tmp_path / f"{name}.png") for name in ("weak", "strong"))
    settings: dict[str, Any] = {"images__given": files if kind == "dip" else files[1:]}
    items = items_of(kind, "denoise:noise=unknown", method="self-diffusion" if kind == "hybrid" else None, **settings)
    found = find(items, NoiseEstimated)
    assert [event.image for event in found] == ([0, 1] if kind == "dip" else [0])
    assert found[-1].sigma == pytest.approx(30, rel=0.15)
    assert [quality.noise for quality in find(items, QualityPredicted)] == [pytest.approx(e.sigma) for e in found]
    if kind == "dip":
        assert found[0].sigma == pytest.approx(8, rel=0.15)


def test_random_mask_of_given_picture_is_refused(tmp_path: Path) -> None:
    y, _ = save_measurement(items_of("dip", "denoise:sigma=25"), tmp_path)
    with pytest.raises(UserError, match="isn't known which pixels"):
        items_of("dip", "inpaint:missing=0.4", images__given=(y,))


@pytest.mark.parametrize("task", [task for task in TASKS if "salt" not in task])
@pytest.mark.parametrize("method", ["calibrated", "guided"])
def test_hybrid_restores_measurement_given_back_as_in_the_run_that_made_it(
    method: str, task: str, tmp_path: Path, prior: str
) -> None:
    options = {**QUICK[method], "prior__run": prior}
    usual = items_of("hybrid", task, method=method, **options)
    y, mask = save_measurement(usual, tmp_path)
    given = items_of("hybrid", TASKS[task].format(mask=mask), method=method, images__given=(y,), **options)
    assert float((restored(given) - restored(usual)).abs().max()) < 1e-4
    assert not any(find(given, kind) for kind in (PsnrMeasured, RestorationScored, RestorationsCompared))
    assert find(given, FitMeasured)
    (quality,) = find(given, QualityPredicted)
    assert (quality.name, quality.method, quality.image) == ("y", method, 0)
    assert any("baselines are not run" in message.text for message in find(given, Message))
    first, *others = find(given, Pictures)
    assert first.panels == ("degraded", "restored", "difference")
    assert [picture.panels[0] for picture in others] == (["restored"] if method == "calibrated" else [])
    assert (quality.spread is None) == (method == "guided")
    (file,) = find(given, GivenRestored)
    assert list(file.maps) == ([] if method == "guided" else ["spread"])
    assert not any(spread.half or spread.error for spread in find(given, SpreadMeasured))


def test_hybrid_on_given_picture_with_truth_is_compared_with_baselines(tmp_path: Path, prior: str) -> None:
    usual = items_of("hybrid", "denoise:sigma=25", method="guided", prior__run=prior)
    y, _ = save_measurement(usual, tmp_path)
    settings = {"images__given": (y,), "images__truth": (y,), "prior__run": prior}
    items = items_of("hybrid", "denoise:sigma=25", method="guided", **settings)
    assert len(find(items, RestorationScored)) == len(find(usual, RestorationScored)) > 1
    error = np.mean((restored(items)[0, 0].numpy().clip(0, 1) - np.load(y)) ** 2)
    assert find(items, RestorationScored)[0].psnr == [pytest.approx(-10 * np.log10(error), abs=1e-3)]
    assert not find(items, FitMeasured) + find(items, QualityPredicted)


def test_truth_must_have_as_many_files_as_given_pictures() -> None:
    with pytest.raises(UserError, match=r"There are 1 given file\(s\), and 2"):
        items_of("dip", "denoise", images__given=("y.npy",), images__truth=("a.png", "b.png"))
