"""Checks before a run: image files, masks and kernels that it can't use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.core.launch import preflight
from dipddpm.core.runs import trained


def refused(kind: str, task: str, *files: Path) -> str:
    """Return the error for a run of a kind, or an empty string if it may start."""
    sets = ("patches",) if kind == "restore" else None
    settings = {"images.files": tuple(map(str, files)) or None, "data.dataset": "fashion-mini", "restore.sets": sets}
    if kind == "restore":
        settings |= {"restore.tasks": (task,)}
    config = configs.build(
        kind, task=None if kind == "restore" else task, settings={k: v for k, v in settings.items() if v}
    )
    try:
        preflight.refuse(config)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["dip", "hybrid"])
def test_refuse_images_one_pixel_wide_or_high(tmp_path: Path, kind: str) -> None:
    for size, words in [((1, 9), "is 1 pixel wide"), ((9, 1), "is 1 pixel high"), ((1, 1), "is 1 pixel")]:
        Image.new("L", size).save(tmp_path / "a.png")
        assert words in refused(kind, "denoise", tmp_path / "a.png")
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    assert refused("dip", "denoise", tmp_path / "a.png") == ""


@pytest.mark.parametrize("kind", ["dip", "hybrid", "restore"])
def test_refuse_masks_of_data_sets(tmp_path: Path, kind: str) -> None:
    task = f"inpaint:mask={tmp_path / 'm.png'}"
    assert "There is no image file" in refused(kind, task)
    Image.new("L", (28, 28)).save(tmp_path / "m.png")
    assert "leaves no pixel: every value is 0 of 255" in refused(kind, task)
    Image.fromarray(np.eye(28, 29, dtype=np.uint8)).save(tmp_path / "m.png")
    assert "has 29x28 pixels and the image 28x28" in refused(kind, task)
    Image.fromarray(np.eye(28, dtype=np.uint8)).save(tmp_path / "m.png")
    assert "The mask" not in refused(kind, task)


def test_refuse_mask_that_fits_only_some_images(tmp_path: Path) -> None:
    for name, size in [("a", (12, 9)), ("b", (13, 9))]:
        Image.new("L", size).save(tmp_path / f"{name}.png")
    Image.fromarray(np.eye(9, 12, dtype=np.uint8)).save(tmp_path / "m.png")
    task = f"inpaint:mask={tmp_path / 'm.png'}"
    assert refused("dip", task, tmp_path / "a.png") == ""
    assert "has 12x9 pixels and the image 13x9" in refused("dip", task, tmp_path / "a.png", tmp_path / "b.png")


def test_refuse_huge_image_as_the_run_does(tmp_path: Path) -> None:
    Image.new("1", (20_000, 4_000)).save(tmp_path / "a.png")
    assert "has more than 67,108,864 pixels" in refused("dip", "denoise", tmp_path / "a.png")


def test_refuse_colour_file_for_grey_prior_unless_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "trained_shape", lambda _: (1, 28, 28))
    monkeypatch.setattr(preflight, "_refuse_prior", lambda _: None)
    colour, grey, wide = (tmp_path / f"{name}.png" for name in ("colour", "grey", "wide"))
    Image.fromarray(np.indices((3, 28, 28)).sum(0).astype(np.uint8).transpose(1, 2, 0).copy()).save(colour)
    Image.new("RGB", (28, 28), (9, 9, 9)).save(grey)
    Image.new("RGB", (29, 28), (9, 8, 7)).save(wide)
    assert refused("hybrid", "denoise", grey) == ""
    assert "--set images.grey=true" in refused("hybrid", "denoise", grey, colour)
    assert "images.grey" not in refused("hybrid", "denoise", wide)
    config = configs.build("hybrid", settings={"images.files": (str(colour),), "images.grey": True})
    preflight.refuse(config)


def test_refuse_options_of_files_and_folders_where_there_are_none(tmp_path: Path) -> None:
    Image.fromarray(np.eye(28, dtype=np.uint8)).save(tmp_path / "a.png")
    name, file = f"folder:{tmp_path}", str(tmp_path / "a.png")
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("dip", {"images.white": 9, "data.dataset": name}, "images.white acts .* Use data.white"),
        ("dip", {"images.grey": True, "data.dataset": "fashion-mini"}, "images.grey acts .* Leave it out"),
        (
            "dip",
            {"data.grey": True, "images.files": (file,), "data.dataset": name},
            "data.grey .* Use images.grey",
        ),
        ("ddpm", {"data.white": 9, "data.dataset": "fashion-mini"}, "data.white acts"),
    ]
    for kind, settings, words in cases:
        with pytest.raises(UserError, match=f"(?s){words}"):
            preflight.refuse(configs.build(kind, settings=settings))


def test_refuse_folder_in_colour_for_tutorial_network_unless_converted(tmp_path: Path) -> None:
    for index in range(10):
        Image.new("RGB", (28, 28), (index, 8, 7)).save(tmp_path / f"{index}.png")
    settings = {"data.dataset": f"folder:{tmp_path}"}
    with pytest.raises(UserError, match=r"--set data\.grey=true"):
        preflight.refuse(configs.build("ddpm", settings=settings))
    preflight.refuse(configs.build("ddpm", settings=settings | {"data.grey": True}))


@pytest.mark.parametrize("kind", ["dip", "hybrid", "restore"])
def test_refuse_kernels(tmp_path: Path, kind: str) -> None:
    task = f"deblur:kernel=file,file={tmp_path / 'k.npy'}"
    assert "There is no kernel file" in refused(kind, task)
    np.save(tmp_path / "k.npy", np.ones((2, 3)))
    assert "3x2 pixels, so no pixel is in its middle" in refused(kind, task)
    np.save(tmp_path / "k.npy", np.ones((3, 3)))
    assert "The kernel" not in refused(kind, task)
    assert "has no kernel file" in refused(kind, "deblur:kernel=file")


@pytest.mark.parametrize("kind", ["dip", "hybrid", "restore"])
def test_refuse_unknown_noise_on_true_images(kind: str) -> None:
    assert "unknown noise" in refused(kind, "denoise:noise=unknown").lower()
