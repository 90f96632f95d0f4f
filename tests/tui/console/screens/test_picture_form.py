"""The form's first choice: a damaged picture of one's own, whose path Tab completes."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from textual.widgets import Input, Static

from dipddpm.core import config as configs
from dipddpm.core.runs import RunsFolder, reference
from dipddpm.tui.console.screens.form import Form
from dipddpm.tui.console.widgets.choice import Choice
from dipddpm.tui.shared import paths
from tests.tui.driving import LARGE, SMALL, Driver, Opener, dipddpm

SHIPPED = reference.FOLDER
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with pictures the current one."""
    folder = tmp_path / "pictures"
    (folder / "scans").mkdir(parents=True)
    monkeypatch.chdir(folder)
    grey = np.random.default_rng(0).integers(0, 255, (12, 16), np.uint8)
    for name in ("photo.png", "photo2.png", "scans/one.png"):
        Image.fromarray(grey).save(name)
    Image.fromarray(np.where(np.arange(16) == 5, 0, 255).astype(np.uint8)[None].repeat(12, 0)).save("mask.png")
    Path("notes.txt").touch()
    return folder


async def opened_form(driver: Driver) -> Form:
    await driver.press("n")
    await driver.until(lambda: isinstance(driver.app.screen, Form) and driver.app.screen.query(Input), "the form")
    screen = driver.app.screen
    assert isinstance(screen, Form)
    return screen


def line(screen: Form, name: str) -> str:
    return str(screen.query_one(f"#form-{name}", Static).render())


def entry(screen: Form, key: str) -> Input:
    return screen.query_one(f"#option-{key.replace('.', '-')}", Input)


@SIZES
async def test_form_begins_with_a_picture_and_asks_for_it(opened: Opener, size: tuple[int, int]) -> None:
    async with opened(size) as driver:
        screen = await opened_form(driver)
        assert "restore my picture" in driver.text()
        assert "Which picture is to be restored?" in line(screen, "trouble")
        assert [str(label.render()) for label in screen.query(".label")][:5] == [
            "kind", "preset", "task", "file", "task.noise",
        ]  # fmt: skip


@SIZES
async def test_tab_completes_paths_and_shows_candidates(opened: Opener, size: tuple[int, int]) -> None:
    async with opened(size) as driver:
        screen = await opened_form(driver)
        entry(screen, "images.given").focus()
        await driver.write("ph")
        await driver.press("tab")
        assert entry(screen, "images.given").value == "photo"
        await driver.press("tab")
        assert line(screen, "help") == "photo.png  photo2.png"
        await driver.write("2")
        await driver.press("tab")
        assert entry(screen, "images.given").value == "photo2.png"
        assert "restore-image" in line(screen, "command")
        await driver.press("tab")
        assert screen.focused is not None
        assert screen.focused.id == "option-task-noise"


async def test_folders_are_read_in_the_background(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[threading.Thread] = []
    candidates = paths._candidates

    def observed(folder: str, start: str, *, folders_only: bool) -> list[str]:
        readers.append(threading.current_thread())
        return candidates(folder, start, folders_only=folders_only)

    monkeypatch.setattr(paths, "_candidates", observed)
    async with opened() as driver:
        screen = await opened_form(driver)
        entry(screen, "images.given").focus()
        await driver.write("sc")
        await driver.press("tab")
        assert entry(screen, "images.given").value == "scans/"
    assert readers
    assert threading.main_thread() not in readers


async def test_noise_level_that_is_typed_means_gaussian_noise(opened: Opener) -> None:
    async with opened() as driver:
        screen = await opened_form(driver)
        noise = screen.query_one("#option-task-noise", Choice)
        assert noise.value == "unknown"
        entry(screen, "task.sigma").focus()
        await driver.write("25")
        assert noise.value == "gaussian"
        await driver.press("backspace", "backspace")
        assert noise.value == "unknown"


async def test_methods_are_those_of_the_task(opened: Opener) -> None:
    async with opened() as driver:
        screen = await opened_form(driver)
        screen.query_one("#pick-task").focus()
        await driver.press("right")
        assert screen.query_one("#option-picture-method", Choice).words == configs.methods_for("inpaint")
        assert entry(screen, "task.mask").placeholder == "black where pixels are missing, white elsewhere"
        assert not screen.query("#option-task-missing")


@pytest.mark.usefixtures("busy")
async def test_form_starts_the_run_of_its_command(
    opened: Opener,
    runs: RunsFolder,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(reference, "FOLDER", SHIPPED)  # the prior of dead leaves ships with the program
    async with opened() as driver:
        screen = await opened_form(driver)
        screen.query_one("#pick-task").focus()
        await driver.press("right")
        for key, text in {"images.given": "scans photo.png", "task.mask": "mask.png", "device": "cpu"}.items():
            entry(screen, key).value = text
        await driver.settle()
        words = shlex.split(line(screen, "command").removeprefix("$"))
        await driver.press("ctrl+s")
        await driver.until(lambda: driver.main.row is not None and driver.main.row.kind == "image", "the run")
        config = runs.find(driver.selected).config()
    assert dipddpm(*words[1:], "--dry-run") == 0
    assert capsys.readouterr().out == configs.to_toml(config)
    assert config.images.given == (str(pictures / "scans/one.png"), str(pictures / "photo.png"))  # type: ignore[union-attr]


async def test_form_refuses_to_replace_a_result(opened: Opener, runs: RunsFolder) -> None:
    Path("photo-restored.png").touch()
    async with opened() as driver:
        screen = await opened_form(driver)
        entry(screen, "images.given").value = "photo.png"
        await driver.settle()
        await driver.press("ctrl+s")
        await driver.until(lambda: "exists already" in line(screen, "trouble"), "the error")
    assert runs.runs() == []
