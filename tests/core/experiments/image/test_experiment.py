"""Given pictures are restored tile by tile, alike in one go and after any interruption."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.config import ImageRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import GivenRestored, Pictures, PsnrMeasured, QualityPredicted, Step, TileRestored
from dipddpm.core.experiments.image.experiment import ImageExperiment
from dipddpm.core.runs import reference

SIZE = (44, 60)


def drawn(seed: int = 0) -> Any:
    """Draw a smooth picture in colour."""
    rng = np.random.default_rng(seed)
    waves = gaussian_filter(rng.standard_normal((*SIZE, 3)), (4, 4, 0))
    return np.clip(128 + 400 * waves, 0, 255).astype(np.uint8)


def noisy(picture: Any, sigma: float = 20, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    return np.clip(picture + sigma * rng.standard_normal(picture.shape), 0, 255).round().astype(np.uint8)


def saved(folder: Path, name: str, pixels: Any) -> str:
    Image.fromarray(pixels).save(folder / name)
    return str(folder / name)


def experiment(task: str, given: list[str], **settings: Any) -> ImageExperiment:
    keys = {key.replace("_", ".", 1): value for key, value in settings.items()}
    config = configs.build("image", task=task, settings={"images.given": given, **keys})
    assert isinstance(config, ImageRun)
    return ImageExperiment.from_config(config, "cpu")


def results(work: ImageExperiment) -> dict[str, list[torch.Tensor]]:
    return {item.name: item.images for item in work if isinstance(item, GivenRestored)}


CASES = {
    "tiles of a classic method": ("denoise:sigma=20", {"picture_method": "tv", "picture_tile": 24}),
    "tiles of DIP": (
        "denoise:sigma=20",
        {"picture_method": "dip", "picture_tile": 32, "dip_iterations": 3, "dip_channels": 8, "dip_scales": 1},
    ),
    "a trial of several methods": ("deblur:width=1,sigma=2", {"picture_method": "wiener", "picture_tile": 40}),
}


@pytest.mark.parametrize("name", CASES)
def test_an_interrupted_restoration_ends_with_the_same_pictures(name: str, tmp_path: Path) -> None:
    task, settings = CASES[name]
    given = [saved(tmp_path, f"{seed}.png", noisy(drawn(seed))) for seed in (0, 5)]
    whole = results(experiment(task, given, **settings))
    assert len(whole) == 2
    steps = sum(isinstance(item, Step) for item in experiment(task, given, **settings))
    for stop in range(1, steps, max(1, steps // 5)):
        first = experiment(task, given, **settings)
        finished: dict[str, list[torch.Tensor]] = {}
        seen = 0
        for item in first:
            if isinstance(item, GivenRestored):
                finished[item.name] = item.images
            seen += isinstance(item, Step)
            if seen == stop:
                break
        second = experiment(task, given, **settings)
        second.load_state_dict(first.state_dict())
        finished |= results(second)
        assert finished.keys() == whole.keys()
        for each, images in whole.items():
            assert all(torch.equal(a, b) for a, b in zip(images, finished[each], strict=True)), (stop, each)


def test_steps_count_up_to_the_total(tmp_path: Path) -> None:
    work = experiment(
        "denoise:sigma=20", [saved(tmp_path, "a.png", noisy(drawn()))], picture_method="tv", picture_tile=24
    )
    counts = [item.step for item in work if isinstance(item, Step)]
    assert counts == sorted(counts) and counts[-1] == work.started().steps == work.step
    assert list(work) == []


def test_without_truth_nothing_is_measured_against_it(tmp_path: Path) -> None:
    truth = drawn()
    given = [saved(tmp_path, "a.png", noisy(truth))]
    items = list(experiment("denoise:sigma=20", given, picture_method="tv"))
    assert not any(isinstance(item, PsnrMeasured) for item in items)
    (quality,) = [item for item in items if isinstance(item, QualityPredicted)]
    assert quality.noise == pytest.approx(20, rel=1e-5) and 5 < quality.residual < 20
    known = list(
        experiment("denoise:sigma=20", given, picture_method="tv", images_truth=[saved(tmp_path, "t.png", truth)])
    )
    (measured,) = [item for item in known if isinstance(item, PsnrMeasured)]
    (restored,) = [item for item in known if isinstance(item, GivenRestored)]
    error = restored.images[0].clamp(0, 1).movedim(0, -1).numpy() - truth / 255
    assert measured.psnr[0] == pytest.approx(-10 * np.log10(np.mean(error**2)), abs=1e-3)
    assert next(item.panels for item in known if isinstance(item, Pictures))[-1] == "truth"


def test_known_pixels_without_noise_stay_as_they_are(tmp_path: Path) -> None:
    truth = drawn()
    mask = (np.random.default_rng(3).random(SIZE) > 0.4).astype(np.uint8) * 255
    given = [saved(tmp_path, "a.png", truth * (mask[..., None] > 0))]
    task = f"inpaint:mask={saved(tmp_path, 'mask.png', mask)}"
    work = list(experiment(task, given, picture_method="biharmonic", picture_tile=32))
    (restored,) = [item for item in work if isinstance(item, GivenRestored)]
    image = restored.images[0]
    assert float(restored.maps["spread"][:, torch.from_numpy(mask > 0)].max()) == 0
    assert float(restored.maps["spread"].max()) > 0
    back = (image * 255).round().byte().movedim(0, -1).numpy()
    assert np.array_equal(back[mask > 0], truth[mask > 0])
    assert np.abs(back.astype(int) - truth)[mask == 0].mean() < 5


def test_a_small_picture_is_enlarged_by_tiles(tmp_path: Path) -> None:
    truth = drawn()
    small = truth.reshape(SIZE[0] // 2, 2, SIZE[1] // 2, 2, 3).mean((1, 3)).round().astype(np.uint8)
    given = [saved(tmp_path, "a.png", small)]
    ((image,),) = results(
        experiment("superres:factor=2,sigma=1", given, picture_method="bicubic", picture_tile=24)
    ).values()
    assert image.shape == (3, *SIZE)
    repeated = small.repeat(2, 0).repeat(2, 1)
    error, plain = ((np.asarray(each, float) - truth).std() for each in (image.movedim(0, -1) * 255, repeated))
    assert error < 0.7 * plain


@pytest.mark.parametrize("size", [(6, 400), (400, 2), (200, 390)])
def test_long_pictures_show_a_detail_as_wide_as_they_are(size: tuple[int, int], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    work = experiment(
        "denoise:sigma=20", [saved(tmp_path, "a.png", pixels)], picture_method="wavelet", picture_trial=False
    )
    details = [item for item in work if isinstance(item, Pictures) and item.name.startswith("detail")]
    assert [item.images.shape[-2:] for item in details] == [(min(*size, 192), min(*size, 192))]


def test_pictures_of_one_size_are_restored_together(tmp_path: Path) -> None:
    given = [saved(tmp_path, f"{seed}.png", noisy(drawn(seed))) for seed in range(3)]
    settings = {"picture_method": "tv", "picture_tile": 24, "picture_trial": False}
    together = experiment("denoise:sigma=20", given, **settings)
    tiles = [item for item in together if isinstance(item, TileRestored)]
    alone = [results(experiment("denoise:sigma=20", [file], **settings)) for file in given]
    assert len(together.groups) == 1 and tiles[-1].tile == tiles[-1].tiles == together.phases[0].plan.jobs
    both = results(experiment("denoise:sigma=20", given, **settings))
    for (images,), other in zip(both.values(), itertools.chain(*(each.values() for each in alone)), strict=True):
        assert torch.allclose(images, other[0], atol=1e-6)


def test_a_method_that_does_not_suit_the_task_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="wiener doesn't support the task denoise"):
        experiment("denoise:sigma=20", [saved(tmp_path, "a.png", drawn())], picture_method="wiener")


def test_auto_takes_the_method_with_the_least_held_out_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "FOLDER", Path(reference.__file__).parents[1] / "assets" / "reference-runs")
    given = [saved(tmp_path, "a.png", noisy(drawn()))]
    work = experiment("denoise:sigma=20", given, dip_iterations=2, dip_channels=8, dip_scales=1)
    tried = [item for item in work if isinstance(item, events.MethodTried)]
    (chosen,) = [item for item in tried if item.chosen]
    errors = {item.method: item.held_out for item in tried if item.held_out is not None}
    assert len(errors) >= 4 and errors[chosen.method] <= min(errors.values()) * 1.02


def test_a_stack_has_a_prediction_for_the_picture_of_the_trial_alone(tmp_path: Path) -> None:
    page = np.tile(drawn()[..., 0], (2, 2))
    np.save(tmp_path / "stack.npy", np.stack([noisy(page, seed=seed) for seed in (1, 2)]))
    items = list(experiment("denoise:sigma=20", [str(tmp_path / "stack.npy")], picture_method="wavelet"))
    first, second = [item for item in items if isinstance(item, QualityPredicted)]
    assert first.predicted_psnr is not None and second.predicted_psnr is None
    (result,) = [item for item in items if isinstance(item, GivenRestored)]
    assert [tuple(image.shape) for image in result.images] == [(1, 88, 120)] * 2
