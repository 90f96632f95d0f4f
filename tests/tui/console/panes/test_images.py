"""The images pane of a restoration without a truth: before and after, the difference, the spread."""

from __future__ import annotations

import pytest
from PIL import Image

from dipddpm.core.events import ImageSaved, NoiseEstimated, RunStarted
from dipddpm.core.runs import EventLog, Run
from dipddpm.tui.console.widgets.pictures import PictureView
from tests.tui.driving import LARGE, SMALL, Driver, Maker, Opener


async def test_live_pane_of_a_picture_without_a_loss_wraps_what_was_found(opened: Opener, make: Maker) -> None:
    run = make("image", losses=[])
    log = EventLog(run.folder)
    log.append(RunStarted(kind="image", method="nlm", device="cpu", steps=300))
    words = "Gaussian noise of sigma 20.4 (19.3 to 21.4 grey levels), certain to 98%, and no impulses"
    log.append(NoiseEstimated(image=0, kind="gaussian", text=words))
    log.close()
    async with opened(SMALL) as driver:
        await driver.until_seen("and no impulses")
        assert "No values to draw." not in driver.text()


def add_panels(run: Run, panels: dict[str, int], *, columns: int = 0) -> None:
    """Store a picture of grey panels in a row and log it."""
    image = Image.new("L", (20 * len(panels), 20))
    for index, shade in enumerate(panels.values()):
        image.paste(shade, (20 * index, 0, 20 * index + 20, 20))
    image.save(run.folder / "images/restored-photo.png")
    log = EventLog(run.folder)
    log.append(
        ImageSaved(
            file="images/restored-photo.png",
            name="restored-photo",
            title="photo: before and after",
            panels=list(panels),
            columns=columns or len(panels),
        )
    )
    log.close()


def shades(driver: Driver) -> set[int]:
    """Return the grey values of the picture that is shown."""
    image = driver.app.screen.query_one(PictureView)._image
    assert image is not None
    return set(image.convert("L").tobytes())


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
async def test_images_pane_shows_before_and_after_then_difference_and_spread(
    opened: Opener, make: Maker, size: tuple[int, int]
) -> None:
    add_panels(make("image"), {"given": 10, "restored": 20, "difference": 30, "spread, white is 8 grey levels": 40})
    async with opened(size) as driver:
        await driver.press("2", "tab")
        await driver.until_seen("given | restored")
        assert shades(driver) == {10, 20}
        await driver.press("v")
        await driver.until_seen("difference: what")
        assert shades(driver) == {30}
        await driver.press("v")
        await driver.until_seen("spread, white is")
        assert shades(driver) == {40}
        await driver.press("v")
        await driver.until_seen("given | restored")


async def test_images_pane_shows_pictures_of_several_images_as_a_whole(opened: Opener, make: Maker) -> None:
    add_panels(make("dip"), {"degraded": 10, "restored": 20, "difference": 30}, columns=6)
    async with opened() as driver:
        await driver.press("2")
        await driver.until_seen("degraded | restored | difference")
        assert shades(driver) == {10, 20, 30}
