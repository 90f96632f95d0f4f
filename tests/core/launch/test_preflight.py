"""Test that a run whose images don't suit its network, prior or indices is refused before it is created."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.core.launch import preflight
from dipddpm.core.runs import reference, trained


def folder(path: Path, mode: str, count: int = 20) -> str:
    path.mkdir(parents=True)
    for index in range(count):
        pixels = np.full((30, 30, 3) if mode == "RGB" else (30, 30), index, np.uint8)
        Image.fromarray(pixels).save(path / f"{index:02}.png")
    return f"folder:{path}"


def refusal(kind: str, dataset: str, **settings: Any) -> UserError:
    options = {"data.dataset": dataset, **{key.replace("__", "."): value for key, value in settings.items()}}
    method = options.pop("method", None)
    with pytest.raises(UserError) as refused:
        preflight.refuse(configs.build(kind, method=method, settings=options), fetching=True, elsewhere=True)
    return refused.value


@pytest.mark.parametrize(
    ("mode", "suffix", "words"), [("RGB", "", "28x28 RGB"), ("L", "@32", "32x32 grey"), ("RGB", "@32", "32x32 RGB")]
)
def test_tutorial_network_refuses_folder_and_names_what_takes_it(
    tmp_path: Path, mode: str, suffix: str, words: str
) -> None:
    name = folder(tmp_path / "photos", mode) + suffix
    for kind in ("ddpm", "hybrid"):
        error = refusal(kind, name, **({"prior__run": "", "images__indices": "0-0"} if kind == "hybrid" else {}))
        assert error.problem == f"The tutorial network takes 28x28 grey images only, and these are {words}."
        assert "--preset cpu" in error.remedy and "--set ddpm.network=unet" in error.remedy
    unet = configs.build("ddpm", preset="cpu", settings={"data.dataset": name})
    preflight.refuse(unet, elsewhere=True)


def test_tutorial_network_refuses_named_colour_set() -> None:
    assert "32x32 RGB" in refusal("ddpm", "cifar10").problem
    assert "32x32 RGB" in refusal("hybrid", "cifar10", method="substitution").problem


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show the reference runs that ship with the program."""
    monkeypatch.setattr(reference, "FOLDER", Path(reference.__file__).parents[1] / "assets" / "reference-runs")


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("method", ["calibrated", "prior-init", "conditioned"])
def test_prior_of_another_shape_is_refused_with_what_to_do(tmp_path: Path, method: str) -> None:
    grey, colour = folder(tmp_path / "grey", "L"), folder(tmp_path / "colour", "RGB")
    error = refusal("hybrid", f"{grey}@32", method=method, images__indices="0-0")
    assert error.problem == "The prior is trained on 28x28 grey images, and these are 32x32 grey."
    assert "folder:PATH@28" in error.remedy and "--preset cpu" in error.remedy and "run dip" in error.remedy
    error = refusal("hybrid", colour, method=method, images__indices="0-0")
    assert error.problem == "The prior is trained on 28x28 grey images, and these are 28x28 RGB."
    assert "@28" not in error.remedy
    fits = configs.build("hybrid", method=method, settings={"data.dataset": grey, "images.indices": "0-1"})
    preflight.refuse(fits, elsewhere=True)


@pytest.mark.usefixtures("shipped")
def test_head_to_head_refuses_prior_of_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    preflight.refuse(configs.build("restore"), elsewhere=True)
    monkeypatch.setattr(trained, "trained_shape", lambda _: (3, 28, 28))
    error = refusal("restore", "fashion-mini")
    assert "trained on 28x28 RGB images, and a head-to-head restores 28x28 grey ones." in error.problem
    assert "dipddpm run hybrid --from RUN" in error.remedy


def test_evaluation_of_colour_samples_is_refused(tmp_path: Path) -> None:
    name = folder(tmp_path / "photos", "RGB")
    error = refusal("ddpm", name, ddpm__network="unet", ddpm__evaluate=128)
    assert "28x28 RGB" in error.problem and "ddpm.evaluate=0" in error.remedy


def test_self_diffusion_takes_images_of_any_shape(tmp_path: Path) -> None:
    settings = {"data.dataset": folder(tmp_path / "photos", "RGB") + "@40", "images.indices": "0-0"}
    preflight.refuse(configs.build("hybrid", method="self-diffusion", settings=settings), elsewhere=True)


def test_indices_and_splits_that_a_folder_lacks_are_refused(tmp_path: Path) -> None:
    name = folder(tmp_path / "photos", "L")
    error = refusal("dip", name)
    assert error.problem == f"There is no image 9 among the 2 test images of {name}."
    assert "from 0 to 1" in error.remedy and "--images 2" in error.remedy
    assert "18 images to train on, not 50" in refusal("ddpm", name, data__train_images=50).problem
    few = folder(tmp_path / "few", "L", count=3)
    assert "no image for the test split" in refusal("dip", few).problem
    folder(tmp_path / "tested" / "test", "L", count=3)
    assert "no image for the train split" in refusal("ddpm", f"folder:{tmp_path / 'tested'}").problem


@pytest.mark.parametrize("kind", ["dip", "ddpm"])
def test_file_of_a_folder_that_is_no_image_is_refused(tmp_path: Path, kind: str) -> None:
    name = folder(tmp_path / "photos", "L")
    for index in (9, 5):  # a test image and a training image
        (tmp_path / "photos" / f"{index:02}.png").write_text("<html>not found</html>")
    settings = {"ddpm__network": "unet"} if kind == "ddpm" else {"images__indices": "0-0"}
    assert f"{5 if kind == 'ddpm' else 9:02}.png" in refusal(kind, name, **settings).problem


@pytest.mark.usefixtures("shipped")
def test_trained_shape_is_read_from_the_model_file(tmp_path: Path) -> None:
    assert trained.trained_shape(reference.prior_folder("reference")) == (1, 28, 28)
    assert trained.trained_shape(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    for content in (b"", b"\0" * 20, (2**60).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"[]"):
        (tmp_path / "checkpoints" / "best.safetensors").write_bytes(content)
        assert trained.trained_shape(tmp_path) is None
