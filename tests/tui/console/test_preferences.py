from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic
from dipddpm.tui.console import preferences
from dipddpm.tui.console.model.curves import SERIES_COLOURS
from dipddpm.tui.console.preferences import Preferences
from dipddpm.tui.console.themes import SUMMARIES, THEMES
from tests.tui.driving import Maker, Opener


def stored() -> Path:
    """Return the file of the preferences, in a folder that exists."""
    path = preferences.preferences_path()
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_preferences_saved_are_loaded() -> None:
    saved = Preferences(theme="clear", sort="psnr", filter="kind:dip", smoothing=0.9, log_y=True, pane="images")
    preferences.save(saved)
    assert preferences.load() == saved


def test_preferences_default_without_file() -> None:
    assert preferences.load() == Preferences()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"theme = ", b"", b"smoothing = {}", b"x = 1\n" * 10_000])
def test_preferences_default_for_damaged_file(content: bytes) -> None:
    stored().write_bytes(content)
    assert preferences.load() == Preferences()


def test_preferences_drop_only_bad_values() -> None:
    stored().write_text('theme = "neon"\nsmoothing = 7.0\nsort = "psnr"\nfuture = true\n')
    assert preferences.load() == Preferences(sort="psnr")


def test_preferences_save_survives_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    preferences.save(Preferences())  # nothing has changed
    with pytest.raises(UserError, match=r"can't be stored.*Set XDG_CONFIG_HOME"):
        preferences.save(Preferences(theme="day"))
    assert preferences.load() == Preferences()


def test_preferences_on_full_disk_ask_for_space(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "write_atomic", write)
    with pytest.raises(UserError, match=r"No space left.*Free some space"):
        preferences.save(Preferences(theme="day"))


def test_preferences_name_setting_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferences, "preferences_path", lambda: None)
    assert preferences.load() == Preferences()
    with pytest.raises(UserError, match=r"no home folder.*Set XDG_CONFIG_HOME"):
        preferences.save(Preferences(theme="day"))


def test_preferences_file_lies_in_config_folder(tmp_path: Path) -> None:
    preferences.save(Preferences(hook="notify"))
    assert stored() == tmp_path / "config" / "dipddpm" / "console.toml"
    assert stat.S_ISREG(stored().stat().st_mode)


def test_themes_have_eight_distinct_series_colours() -> None:
    assert THEMES.keys() == SUMMARIES.keys()
    for theme in THEMES.values():
        assert len({theme.variables[f"series-{number}"] for number in range(SERIES_COLOURS)}) == SERIES_COLOURS


@pytest.mark.parametrize("theme", list(THEMES))
async def test_console_draws_every_theme(opened: Opener, make: Maker, theme: str) -> None:
    make(name="shirts")
    preferences.save(Preferences(theme=theme))  # type: ignore[arg-type]
    async with opened() as driver:
        assert driver.app.theme == theme
        for pane in "12345":
            await driver.press(pane)
        assert "shirts" in driver.text()


async def test_theme_dialog_applies_and_stores_theme(opened: Opener, make: Maker) -> None:
    make(name="shirts")
    async with opened() as driver:
        await driver.press("T")
        await driver.until_seen("safe for colour-blind eyes")
        await driver.press("j", "j", "enter")
        await driver.until(lambda: driver.app.theme == "clear", "the theme")
        assert driver.app.session.preferences.theme == "clear"


async def test_console_restores_filter_and_pane(opened: Opener, make: Maker) -> None:
    make(name="shirts")
    make("dip", name="boots", psnr=[20.0])
    preferences.save(Preferences(filter="kind:dip", pane="config"))
    async with opened() as driver:
        assert "1 of 2" in driver.text()
        assert "Command for the same run" in driver.text()
