from __future__ import annotations

import pytest
from textual.widgets import Static

from dipddpm.tui.console.screens.help import SECTIONS, Help
from tests.tui.driving import LARGE, SMALL, Maker, Opener

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])


@SIZES
async def test_help_lists_keys_of_main_screen(opened: Opener, make: Maker, size: tuple[int, int]) -> None:
    make(name="shirts")
    async with opened(size) as driver:
        await driver.press("question_mark")
        await driver.until(lambda: isinstance(driver.app.screen, Help), "help")
        page = str(driver.app.screen.query(Static).last().render())
        for keys in ("n f", "s r x", "d u", "Q D", "1 2 3 4 5", ", .", "y w a", "m M", "ctrl+p"):
            assert keys in page
        await driver.press("escape")
        assert driver.app.screen is driver.main


async def test_help_covers_every_binding(opened: Opener, make: Maker) -> None:
    make(name="shirts")
    written = " ".join(keys for _, entries in SECTIONS["MainScreen"] for keys, _ in entries)
    async with opened() as driver:
        keys: dict[str, list[str]] = {}
        for bindings in (driver.main._bindings, driver.app._bindings):
            for _, binding in bindings:
                if not binding.action.startswith(("screen.", "app.")):  # Textual's own
                    shown = binding.key_display or driver.app.get_key_display(binding)
                    keys.setdefault(binding.action, []).append(shown)
        for action, known in keys.items():
            assert any(_typed(key) in written for key in known), f"{known}: {action}"


async def test_palette_finds_disk_use(opened: Opener, make: Maker) -> None:
    make(name="shirts")
    async with opened() as driver:
        await driver.press("ctrl+p")
        await driver.write("disk")
        await driver.until_seen("disk use")
        await driver.press("enter")
        await driver.until_seen("Disk use")


@SIZES
async def test_footer_shows_keys_that_apply_with_help_and_quit(
    opened: Opener, make: Maker, size: tuple[int, int]
) -> None:
    make(name="shirts", state="stopped")
    async with opened(size) as driver:
        footer = driver.text().splitlines()[-1]
        for words in ("n new run", "r resume", "q quit", "? help"):
            assert words in footer
        assert "s stop" not in footer


async def test_footer_click_acts_like_its_key(opened: Opener, make: Maker) -> None:
    make(name="shirts")
    async with opened() as driver:
        place = driver.text().splitlines()[-1].index("? help")
        await driver.pilot.click("KeyLine", offset=(place, 0))
        await driver.until(lambda: isinstance(driver.app.screen, Help), "help")


def _typed(key: str) -> str:
    return key.replace("^", "ctrl+").replace("⏎", "enter")
