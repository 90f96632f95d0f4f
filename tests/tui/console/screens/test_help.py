from __future__ import annotations

import re

import pytest
from textual.widgets import Input

from dipddpm.tui.console.screens.dialogs import Help
from dipddpm.tui.console.screens.form import Form
from tests.tui.driving import LARGE, SMALL, Driver, Maker, Opener

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])


@SIZES
async def test_help_lists_keys_of_main_screen(opened: Opener, make: Maker, size: tuple[int, int]) -> None:
    make(name="shirts")
    async with opened(size) as driver:
        await driver.press("question_mark")
        await driver.until(lambda: isinstance(driver.app.screen, Help), "help")
        pages = await scrolled(driver)
        for line in (
            "↓ j ↑ k  next or previous run",
            "f  start a new run like this one",
            "u  bring back the last deleted run",
            "1 2 3 4 5  live, images, log, config, compare",
            ", .  move the time cursor",
            "^p  all commands",
            "✓ ◆ ■ ✗ ! ?  done; reference run; stopped; failed; crashed",
        ):
            assert line in pages
        await driver.press("escape")
        assert driver.app.screen is driver.main


async def test_help_covers_every_binding(opened: Opener, make: Maker) -> None:
    make(name="shirts")
    async with opened() as driver:
        bindings = {
            binding.action: driver.app.get_key_display(binding)
            for node in (driver.main.run_list.table, driver.main, driver.app)
            for _, binding in node._bindings
            if not binding.action.startswith(
                ("screen.", "app.focus", "scroll_", "page_left", "page_right")
            )  # Textual's own
        }
        await driver.press("question_mark")
        await driver.until(lambda: isinstance(driver.app.screen, Help), "help")
        words = (await scrolled(driver)).split()
        assert len(bindings) > 40
        assert {action for action, key in bindings.items() if key not in words} == set()


async def test_help_of_form_lists_keys_of_form_and_of_choices(opened: Opener) -> None:
    async with opened() as driver:
        await driver.press("n")
        await driver.until(lambda: isinstance(driver.app.screen, Form) and driver.app.screen.query(Input), "the form")
        await driver.press("question_mark")
        await driver.until(lambda: isinstance(driver.app.screen, Help), "help")
        text = " ".join(driver.text().split())
        for line in ("← → space choose the previous or", "^s start the run, or queue it", "^g start without queueing"):
            assert line in text
        assert "Signs" not in text


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
        column = driver.text().splitlines()[-1].index("? help")
        await driver.pilot.click("KeyLine", offset=(column, 0))
        await driver.until(lambda: isinstance(driver.app.screen, Help), "help")


async def scrolled(driver: Driver) -> str:
    """Return the text of the help page from top to end, with two spaces between columns."""
    pages = [driver.text()]
    for _ in range(60):
        await driver.press("j")
        pages.append(driver.text())
    return re.sub(r"  +", "  ", "\n".join(pages))
