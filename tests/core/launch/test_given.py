"""Checks before a run on given pictures: files, truth and masks that it can't use, and files that have changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.core.launch import preflight
from dipddpm.core.runs import trained

RNG = np.random.default_rng(2)


def saved(path: Path, *shape: int) -> str:
    Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(path)
    return str(path)


def refused(kind: str, task: str, *files: str, truth: tuple[str, ...] = ()) -> str:
    """Return the error for a run of a kind, or an empty string if it may start."""
    settings = {"images.given": files, "images.truth": truth}
    try:
        preflight.refuse(
            configs.build(kind, task=task, settings={key: value for key, value in settings.items() if value})
        )
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["dip", "image"])
def test_given_files_that_cannot_be_read_are_refused(tmp_path: Path, kind: str) -> None:
    task, path = "denoise:sigma=25", tmp_path / "a.png"
    assert "There is no image file" in refused(kind, task, str(path))
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "a.png is " in refused(kind, task, str(path))
    for shape, word in (((1, 9), "high"), ((9, 1), "wide")):
        assert f"is 1 pixel {word}" in refused(kind, task, saved(path, *shape))
    np.save(tmp_path / "a.npy", np.array([[0.5, np.nan], [0, 0]]))
    assert "not finite" in refused(kind, task, str(tmp_path / "a.npy"))
    assert refused(kind, task, saved(path, 9, 9)) == ""


@pytest.mark.parametrize("kind", ["dip", "image"])
def test_truth_that_does_not_fit_is_refused(tmp_path: Path, kind: str) -> None:
    given, truth = saved(tmp_path / "a.png", 6, 8), saved(tmp_path / "t.png", 12, 15)
    assert "8x6 pixels and its truth" in refused(kind, "denoise:sigma=25", given, truth=(truth,))
    assert refused(kind, "superres:factor=2", given, truth=(truth,)) == ""  # the last block may be smaller
    assert "2 given files and 1 files" in refused(kind, "denoise:sigma=25", given, given, truth=(truth,))


@pytest.mark.parametrize("kind", ["dip", "image"])
def test_inpainting_needs_a_mask_of_the_size_of_the_given_picture(tmp_path: Path, kind: str) -> None:
    given = saved(tmp_path / "a.png", 6, 8, 3)
    assert "Give --mask FILE" in refused(kind, "inpaint", given)
    for size, words in (((6, 8), ""), ((8, 6), "has 6x8 pixels and the image 8x6")):
        Image.fromarray(np.eye(*size, dtype=np.uint8) * 255).save(tmp_path / "m.png")
        assert words in (error := refused(kind, f"inpaint:mask={tmp_path / 'm.png'}", given)) and bool(words) == bool(
            error
        )


def test_transparent_pixels_are_the_missing_ones_only_if_the_user_says_so(tmp_path: Path) -> None:
    values = RNG.integers(0, 256, (6, 8, 4)).astype(np.uint8)
    values[..., 3] = 255
    values[2:4, 3:5, 3] = 0
    Image.fromarray(values).save(path := tmp_path / "a.png")
    assert f"give the picture as its own mask: --mask {path}" in refused("dip", "inpaint", str(path))
    assert refused("dip", f"inpaint:mask={path}", str(path)) == ""


def test_given_picture_of_another_size_than_the_prior_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "trained_shape", lambda _: (1, 28, 28))
    monkeypatch.setattr(preflight, "_refuse_prior", lambda _: None)
    assert refused("hybrid", "denoise:sigma=25", saved(tmp_path / "a.png", 28, 28)) == ""
    assert refused("hybrid", "superres:factor=2", saved(tmp_path / "a.png", 14, 14)) == ""
    assert refused("hybrid", "denoise:sigma=25", saved(tmp_path / "a.png", 14, 14)) != ""
    assert "images.grey" in refused("hybrid", "denoise:sigma=25", saved(tmp_path / "a.png", 28, 28, 3))
