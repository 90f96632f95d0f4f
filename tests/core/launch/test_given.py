"""Checks before a run on given pictures: files, truth and masks that it can't use, and files that have changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.core.launch import preflight
from dipddpm.core.runs import RunsFolder, trained
from tests.core.launch.test_inputs import DIP, assert_resumes_like, interrupted, refused
from tests.helpers import work

RNG = np.random.default_rng(2)


@pytest.fixture(autouse=True)
def no_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the check of the prior, which isn't among the reference runs of the tests."""
    monkeypatch.setattr(preflight, "_refuse_prior", lambda _: None)


def saved(path: Path, *shape: int) -> str:
    Image.fromarray(RNG.integers(0, 256, shape, np.uint8)).save(path)
    return str(path)


def refusal(kind: str, task: str, *files: str, truth: tuple[str, ...] = ()) -> str:
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
    assert "There is no image file" in refusal(kind, task, str(path))
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "a.png is " in refusal(kind, task, str(path))
    for shape, word in (((1, 9), "high"), ((9, 1), "wide")):
        assert f"is 1 pixel {word}" in refusal(kind, task, saved(path, *shape))
    np.save(tmp_path / "a.npy", np.array([[0.5, np.nan], [0, 0]]))
    assert "not finite" in refusal(kind, task, str(tmp_path / "a.npy"))
    assert refusal(kind, task, saved(path, 9, 9)) == ""


@pytest.mark.parametrize("kind", ["dip", "image"])
def test_truth_that_does_not_fit_is_refused(tmp_path: Path, kind: str) -> None:
    given, truth = saved(tmp_path / "a.png", 6, 8), saved(tmp_path / "t.png", 12, 15)
    assert "8x6 pixels and its truth" in refusal(kind, "denoise:sigma=25", given, truth=(truth,))
    assert refusal(kind, "superres:factor=2", given, truth=(truth,)) == ""  # the last block may be smaller
    assert "1 given file(s), and 2 with their truth" in refusal(kind, "superres", given, truth=(truth, truth))


@pytest.mark.parametrize("kind", ["dip", "image"])
def test_inpainting_needs_a_mask_of_the_size_of_the_given_picture(tmp_path: Path, kind: str) -> None:
    given = saved(tmp_path / "a.png", 6, 8, 3)
    assert "Give --mask FILE" in refusal(kind, "inpaint", given)
    for size, words in (((6, 8), ""), ((8, 6), "has 6x8 pixels and the image 8x6")):
        Image.fromarray(np.eye(*size, dtype=np.uint8) * 255).save(tmp_path / "m.png")
        assert words in (error := refusal(kind, f"inpaint:mask={tmp_path / 'm.png'}", given)) and bool(words) == bool(
            error
        )


def test_transparent_pixels_are_the_missing_ones_only_if_the_user_wants_it(tmp_path: Path) -> None:
    values = RNG.integers(0, 256, (6, 8, 4)).astype(np.uint8)
    values[..., 3] = 255
    values[2:4, 3:5, 3] = 0
    Image.fromarray(values).save(path := tmp_path / "a.png")
    assert f"give the picture as its own mask: --mask {path}" in refusal("dip", "inpaint", str(path))
    assert refusal("dip", f"inpaint:mask={path}", str(path)) == ""


def test_given_picture_of_another_size_than_the_prior_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "trained_shape", lambda _: (1, 28, 28))
    assert refusal("hybrid", "denoise:sigma=25", saved(tmp_path / "a.png", 28, 28)) == ""
    assert refusal("hybrid", "superres:factor=2", saved(tmp_path / "a.png", 14, 14)) == ""
    assert refusal("hybrid", "denoise:sigma=25", saved(tmp_path / "a.png", 14, 14)) != ""
    assert "images.grey" in refusal("hybrid", "denoise:sigma=25", saved(tmp_path / "a.png", 28, 28, 3))


@pytest.mark.parametrize(
    ("changed", "words"),
    [("a.png", "a.png has other pixels"), ("stack.tif", "stack.tif has other pixels"), ("t.npy", "t.npy has other")],
)
def test_resume_on_other_given_files_is_refused_until_they_are_back(
    changed: str, words: str, tmp_path: Path, runs: RunsFolder
) -> None:
    files = given, stack, first, second = [tmp_path / name for name in ("a.png", "stack.tif", "t.npy", "ts.npy")]
    pages = RNG.integers(0, 65536, (3, 16, 20)).astype(np.uint16)
    saved(given, 16, 20)
    tifffile.imwrite(stack, pages, photometric="minisblack", compression="zlib")
    np.save(first, pages[0])
    np.save(second, pages)
    settings = {
        **DIP, "images.given": (str(given), str(stack)), "images.truth": (str(first), str(second)),
        "data.dataset": "fashion-mini",
    }  # fmt: skip
    config = configs.build("dip", task="denoise:sigma=25", settings=settings)
    whole = runs.create(config)
    assert work(whole) == 0
    run = interrupted(runs, config)
    (path,) = [each for each in files if each.name == changed]
    before = path.read_bytes()
    if path.suffix == ".tif":
        tifffile.imwrite(path, pages[::-1], photometric="minisblack")
    elif path.suffix == ".npy":
        np.save(path, pages[1])
    else:
        saved(path, 16, 20)
    with pytest.raises(UserError) as caught:
        preflight.refuse_resume(run)
    assert words in (failed := refused(run)).error
    assert (caught.value.problem, caught.value.remedy) == (failed.error, failed.hint)
    path.write_bytes(before)
    assert_resumes_like(run, whole)
