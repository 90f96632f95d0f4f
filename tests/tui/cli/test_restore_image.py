"""`dipddpm restore-image`: its defaults, and the mistakes that it answers before a run is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from dipddpm.core import config as configs
from dipddpm.core.config import ImageRun
from dipddpm.core.config.tasks import Denoise, Inpaint, Superres
from dipddpm.tui.cli.main import app, main
from dipddpm.tui.shared.draft import Draft


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with pictures the current one."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name, size in {"photo.png": (12, 16), "other.png": (12, 16), "small.png": (6, 8)}.items():
        Image.fromarray(random.integers(0, 255, (*size, 3), np.uint8)).save(name)
    Image.fromarray(random.integers(0, 65535, (12, 16), np.uint16)).save("deep.tif")
    Image.fromarray(np.where(np.arange(16) == 5, 0, 255).astype(np.uint8)[None].repeat(12, 0)).save("mask.png")
    np.save("stack.npy", random.random((2, 12, 16)))
    (tmp_path / "scans").mkdir()
    for name in ("scan10.png", "scan9.png"):
        Image.open("photo.png").save(tmp_path / "scans" / name)
    (tmp_path / "scans" / "notes.txt").write_text("no picture")
    return tmp_path


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> ImageRun:
    """Return the config that the command prints in a dry run."""
    with pytest.raises(SystemExit, match="0"):
        main(["restore-image", *arguments, "--dry-run"])
    Path("config.toml").write_text(capsys.readouterr().out)
    config = configs.load(Path("config.toml"))
    assert isinstance(config, ImageRun)
    return config


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the two lines of a refusal, which makes no run."""
    with pytest.raises(SystemExit, match="2"):
        main(list(arguments))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2
    assert not Path("runs").exists()
    return captured.err


def test_a_picture_alone_is_denoised_with_everything_estimated(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = planned(capsys, "photo.png")
    assert config.images.given == (str(here / "photo.png"),)
    assert isinstance(config.task, Denoise)
    assert config.task.noise == "unknown"
    assert config.picture.method == "auto"
    assert config.picture.out == str(here / "photo-restored.png")


def test_a_mask_means_inpainting_of_exact_pixels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = planned(capsys, "photo.png", "--mask", "mask.png")
    assert isinstance(config.task, Inpaint)
    assert config.task.mask == str(here / "mask.png")
    assert (config.task.noise, config.task.sigma) == ("gaussian", 0)
    noisy = planned(capsys, "photo.png", "--mask", "mask.png", "--task", "inpaint:sigma=5")
    assert isinstance(noisy.task, Inpaint)
    assert (noisy.task.mask, noisy.task.sigma) == (config.task.mask, 5)


def test_a_given_noise_level_is_not_estimated(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--task", "denoise:sigma=7"], ["--task", "denoise", "--set", "task.sigma=7"]):
        task = planned(capsys, "photo.png", *arguments).task
        assert (task.noise, task.sigma) == ("gaussian", 7)
    enlarged = planned(capsys, "small.png", "--task", "superres").task
    assert isinstance(enlarged, Superres)
    assert (enlarged.noise, enlarged.sigma) == ("gaussian", 0)


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["deep.tif"], "deep-restored.tif"),
        (["stack.npy"], "stack-restored.npy"),
        (["photo.png", "--out", "new/"], "new/photo-restored.png"),
        (["photo.png", "--out", "new.png"], "new.png"),
        (["photo.png", "deep.tif", "--out", "new"], "new"),
        (["photo.png", "deep.tif"], ""),
        (["photo.png", "--set", "picture.out="], None),
    ],
)
def test_result_goes_to_the_current_folder(
    arguments: list[str], out: str | None, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert planned(capsys, *arguments).picture.out == ("" if out is None else str(here / out))


def test_a_folder_stands_for_its_pictures_in_natural_order(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = planned(capsys, "scans", "photo.png")
    files = ("scans/scan9.png", "scans/scan10.png", "photo.png")
    assert config.images.given == tuple(str(here / file) for file in files)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("photo.png --task inpaint", "--mask FILE"),
        ("photo.png --task inpaint:missing=0.5", "which pixels"),
        ("photo.png --mask mask.png --task denoise", "takes no mask"),
        ("photo.png --mask mask.png --task inpaint:mask=mask.png", "both name a mask"),
        ("small.png --mask mask.png", "16x12"),
        ("photo.png --mask photo.png", "looks like a picture"),
        ("photo.png photo.png", "given twice"),
        ("photo.png other.png --truth other.png", "2 given file"),
        ("photo.png --truth small.png", "8x6"),
        ("photo.png --out new.jpg", "new.png"),
        ("photo.png --out new.tif", "new.png"),
        ("stack.npy --out new.png", "new.npy"),
        ("photo.png other.png --out new.png", "Name a folder"),
        ("photo.png --out photo.png/new.png", "not a folder"),
        ("photo.png --out /proc/new.png", "/proc"),
        ("photo.png --out photo.png --force", "that the run reads"),
        ("photo.png --out other.png", "--force"),
        ("scans/notes.txt", "notes.txt"),
        ("missing.png", "missing.png"),
        ("photo.png --task nois", "denoise"),
        ("photo.png --task denoise:sigm=3", "sigma"),
        ("photo.png --method nlmeans", "nlm"),
        ("photo.png --task superres --method kriging", "bicubic"),
    ],
)
def test_mistake_is_answered_with_a_remedy(arguments: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refused(capsys, "restore-image", *arguments.split())


def test_huge_enlargement_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (4000, 4000)).save("huge.png")
    assert "8,000x8,000" in refused(capsys, "restore-image", "huge.png", "--task", "superres")


def test_folder_without_pictures_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    assert "no picture in the folder" in refused(capsys, "restore-image", "empty")


def test_existing_result_is_replaced_only_by_force(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photo-restored.png").touch()
    assert "photo-restored.png exists" in refused(capsys, "restore-image", "photo.png")
    assert planned(capsys, "photo.png").picture.out.endswith("photo-restored.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "locked").mkdir(mode=0o500)
    assert "locked" in refused(capsys, "restore-image", "photo.png", "--out", "locked/")


@pytest.mark.parametrize("words", [["restore", "photo.png"], ["photo.png"], ["upscale", "photo.png"]])
def test_other_commands_point_to_restore_image(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "restore-image" in refused(capsys, *words)


def test_help_lists_restore_image_first() -> None:
    group: Any = typer.main.get_command(app)
    first = next(iter(group.list_commands(typer.Context(group))))
    assert first == "restore-image"
    assert group.commands[first].rich_help_panel == "Restore a picture"


@pytest.mark.parametrize(
    ("task", "typed"),
    [
        ("denoise", {"images.given": "photo.png"}),
        ("denoise", {"images.given": "photo.png other.png", "task.sigma": "7", "images.truth": "other.png photo.png"}),
        ("denoise", {"images.given": "scans", "task.noise": "poisson", "picture.out": "new", "seed": "3"}),
        ("inpaint", {"images.given": "photo.png", "task.mask": "mask.png", "picture.method": "biharmonic"}),
        ("inpaint", {"images.given": "photo.png", "task.mask": "mask.png", "task.sigma": "5"}),
        ("superres", {"images.given": "small.png", "task.factor": "4", "picture.out": ""}),
        ("deblur", {"images.given": "photo.png", "task.width": "2", "dip.iterations": "50", "dip.lr": "0.01"}),
    ],
)
def test_command_of_the_form_gives_its_config(
    task: str,
    typed: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import shlex

    from dipddpm.core.launch.defaults import limit_images

    draft = Draft("image")
    draft.choose("task", task)
    draft.set_values(typed)
    config = limit_images(draft.config(), draft.typed)
    words = shlex.split(draft.command())
    assert words[:2] == ["dipddpm", "restore-image"]
    monkeypatch.chdir("scans")
    assert planned(capsys, *words[2:]) == config
    assert Draft.from_config(config).config() == config
