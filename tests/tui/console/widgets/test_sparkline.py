"""PSNR lines: the peak and the stop are drawn at their steps."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import pytest

from dipddpm.tui.console.model.curves import PsnrCurve, StepValue
from dipddpm.tui.console.widgets.sparkline import BARS, PsnrSparkline
from tests.tui.console.widgets.conftest import OpenStage
from tests.tui.driving import until_idle

STEPS = array("d", range(10, 610, 10))
HUMP = array("d", [25 - abs(step - 300) / 100 for step in STEPS])
PEAK = StepValue(300, 25.0)


def curve(
    values: Sequence[float] = HUMP,
    *,
    image: int = -1,
    label: str = "mean",
    peak: StepValue | None = PEAK,
    stop: StepValue | None = None,
) -> PsnrCurve:
    return PsnrCurve(image, label, STEPS[: len(values)], array("d", values), peak, stop)


def bars(line: str) -> list[int]:
    """Return the heights of the bars in a line."""
    return [BARS.index(character) for character in line[12:] if character in BARS]


async def test_psnr_sparkline_shows_peak_and_stop(stage: OpenStage) -> None:
    spark = PsnrSparkline()
    async with stage(spark, (120, 5)) as (app, pilot):
        spark.show([curve(stop=StepValue(260, 24.6))], limit=600)
        await until_idle(pilot)
        line = app.lines()[0]
        drawn = line[12:84]
        assert line.startswith("mean")
        assert drawn.index("▼") < drawn.index("▲")
        assert drawn.index("▲") == pytest.approx(71 / 2, abs=1)
        assert "22.0 dB" in line
        assert "▲25.0 @300" in line
        assert "▼260 -0.40" in line


async def test_psnr_sparkline_shows_one_sign_for_equal_peak_and_stop(stage: OpenStage) -> None:
    spark = PsnrSparkline()
    async with stage(spark, (100, 3)) as (app, pilot):
        spark.show([curve(stop=StepValue(300, 25.0))])
        await until_idle(pilot)
        assert "◆" in app.lines()[0][12:60]


async def test_psnr_sparkline_shows_no_peak_while_climbing(stage: OpenStage) -> None:
    spark = PsnrSparkline()
    async with stage(spark, (100, 3)) as (app, pilot):
        spark.show([curve(HUMP[:20], peak=StepValue(200, HUMP[19]))], limit=600)
        await until_idle(pilot)
        line = app.lines()[0]
        assert "▲" not in line
        heights = bars(line)
        assert heights == sorted(heights)
        assert len(heights) < 30


async def test_psnr_sparkline_shows_small_fall(stage: OpenStage) -> None:
    spark = PsnrSparkline()
    async with stage(spark, (100, 3)) as (app, pilot):
        values = [10.0, 20.0, 25.0, 25.0, 25.0, 24.2]
        spark.show([curve(values, peak=StepValue(30, 25.0))])
        await until_idle(pilot)
        heights = bars(app.lines()[0])
        assert heights[-1] < max(heights)


async def test_psnr_sparkline_crosses_out_nan(stage: OpenStage) -> None:
    spark = PsnrSparkline()
    async with stage(spark, (100, 3)) as (app, pilot):
        spark.show([curve([20.0, math.nan, math.nan], peak=StepValue(10, 20.0))])
        await until_idle(pilot)
        assert "×" in app.lines()[0]
        assert "? dB" in app.lines()[0]
        spark.show([curve([math.nan], peak=None)])
        assert "×" in app.lines()[0]


async def test_psnr_sparkline_shows_value_at_cursor(stage: OpenStage) -> None:
    spark = PsnrSparkline()
    async with stage(spark, (100, 3)) as (app, pilot):
        spark.show([curve()], cursor=105)
        await until_idle(pilot)
        assert "23.0 dB" in app.lines()[0]
        spark.show([curve()], cursor=5)
        assert "? dB" in app.lines()[0]


@pytest.mark.parametrize(("width", "rows"), [(40, 7), (80, 7), (110, 4), (170, 3)])
async def test_psnr_sparkline_puts_images_side_by_side_with_room(stage: OpenStage, width: int, rows: int) -> None:
    spark = PsnrSparkline()
    images = [curve(image=n, label=f"image {n}") for n in range(6)]
    async with stage(spark, (width, 12)) as (app, pilot):
        spark.show([curve(), *images])
        await until_idle(pilot)
        shown = [line for line in app.lines() if line]
        assert len(shown) == rows
        assert sum(line.count("image") for line in shown) == 6
        assert all("22.0 dB" in line for line in shown)


async def test_psnr_sparkline_omits_mean_and_names_single_image(stage: OpenStage) -> None:
    spark = PsnrSparkline()
    async with stage(spark, (80, 4)) as (app, pilot):
        spark.show([curve(), curve(image=0, label="ankle boot 名前 [b]")])
        await until_idle(pilot)
        assert [line[:12].strip() for line in app.lines() if line] == ["ankle boot…"]


@pytest.mark.parametrize("width", [1, 12, 20, 21, 29])
async def test_psnr_sparkline_fits_narrow_width(stage: OpenStage, width: int) -> None:
    spark = PsnrSparkline()
    async with stage(spark, (width, 3)) as (app, pilot):
        spark.show([curve(stop=StepValue(300, 25.0))])
        await until_idle(pilot)
        assert len(app.lines()[0]) <= width


async def test_psnr_sparkline_repaints_few_cells_for_new_value(stage: OpenStage, repainted: list[float]) -> None:
    spark = PsnrSparkline()
    async with stage(spark, (120, 3)) as (_, pilot):
        spark.show([curve(HUMP[:40])], limit=600)
        await until_idle(pilot)
        repainted.clear()
        spark.show([curve(HUMP[:41])], limit=600)
        assert sum(repainted) <= 12


async def test_psnr_sparkline_draws_exact_image_as_its_highest_bar(stage: OpenStage) -> None:
    spark = PsnrSparkline()
    async with stage(spark, (100, 3)) as (app, pilot):
        spark.show([curve([20.0, 25.0, math.inf], peak=StepValue(20, 25.0))])
        await until_idle(pilot)
        line = app.lines()[0]
        assert "×" not in line
        assert bars(line)[-1] == len(BARS) - 1
        assert "exact" in line
        spark.show([curve([math.inf], peak=None)])
        assert set(bars(app.lines()[0])) == {len(BARS) - 1}
