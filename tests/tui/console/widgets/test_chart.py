"""The line chart: its content at every size, and how few cells are repainted while a run grows."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence

import pytest

from dipddpm.tui.console.model.axis import count_scale, linear_scale
from dipddpm.tui.console.model.curves import Series
from dipddpm.tui.console.model.series import ChartMark
from dipddpm.tui.console.widgets import plot
from dipddpm.tui.console.widgets.chart import LineChart
from tests.tui.console.widgets.conftest import OpenStage
from tests.tui.driving import until_idle

EMPTY = "No values to draw."


def line(values: Sequence[float], *, marks_non_finite: bool = False) -> Series:
    return Series("loss", list(range(1, len(values) + 1)), values, marks_non_finite=marks_non_finite)


def canvas(lines: list[str]) -> list[str]:
    """Return the area of the curves, without title and axes."""
    return [text[plot.GUTTER + 1 :] for text in lines[1:-2]]


def is_drawn(character: str) -> bool:
    return 0x2800 < ord(character) < 0x2900


async def test_line_chart_labels_axes_to_their_ends(stage: OpenStage) -> None:
    chart = LineChart("loss")
    async with stage(chart, (60, 14)) as (app, _):
        chart.show([line([1 / step for step in range(1, 48)])], limit=47, note="log y", log_y=True)
        lines = app.lines()
        assert lines[0].startswith("loss")
        assert lines[0].endswith("log y")
        assert lines[-1].startswith("step")
        assert lines[-1].split()[1:] == ["0", "10", "20", "30", "40", "47"]
        assert lines[-2][plot.GUTTER] == "└"
        assert next(text[: plot.GUTTER].strip() for text in lines[1:-2] if text[: plot.GUTTER].strip()) == "1"


async def test_line_chart_draws_falling_line_from_upper_left(stage: OpenStage) -> None:
    chart = LineChart()
    async with stage(chart, (40, 12)) as (app, _):
        chart.show([line([10.0 - step for step in range(10)])])
        rows = canvas(app.lines())
        columns = [[x for x, character in enumerate(text) if is_drawn(character)] for text in rows]
        firsts = [min(row) for row in columns if row]
        assert firsts == sorted(firsts)
        assert len(firsts) == len(rows)


async def test_line_chart_shows_spike_among_many_values(stage: OpenStage) -> None:
    chart = LineChart()
    values = [0.1] * 47_000
    values[20_000] = 5.0
    async with stage(chart, (60, 14)) as (app, _):
        chart.show([line(values)])
        assert any(map(is_drawn, canvas(app.lines())[0]))


async def test_line_chart_leaves_gaps_and_marks_nan(stage: OpenStage) -> None:
    chart = LineChart()
    values = [1.0] * 20 + [math.nan] * 20 + [1.0] * 20
    async with stage(chart, (67, 12)) as (app, _):
        chart.show([line(values, marks_non_finite=True)], limit=60)
        rows = canvas(app.lines())
        drawn = {x for text in rows for x, character in enumerate(text) if is_drawn(character)}
        lost = {x for text in rows for x, character in enumerate(text) if character == "×"}
        assert drawn.isdisjoint(range(22, 40))
        assert lost <= set(range(19, 42))
        assert lost
        chart.show([line(values)], limit=60)
        assert "×" not in "".join(app.lines())


async def test_line_chart_shows_empty_text_without_finite_value(stage: OpenStage) -> None:
    chart = LineChart()
    async with stage(chart) as (app, _):
        chart.show([line([math.nan, math.inf])])
        assert EMPTY in "\n".join(app.lines())


@pytest.mark.parametrize("log_y", [False, True])
async def test_line_chart_draws_single_point(stage: OpenStage, log_y: bool) -> None:
    chart = LineChart()
    async with stage(chart) as (app, _):
        chart.show([Series("loss", [1.0], [0.5])], x_label="epoch", limit=1, log_y=log_y)
        assert sum(text.count("●") for text in app.lines()) == 1
        assert app.lines()[-1].split() == ["epoch", "0", "1"]


async def test_line_chart_leaves_nonpositive_values_off_log_axis(stage: OpenStage) -> None:
    chart = LineChart()
    async with stage(chart) as (app, _):
        chart.show([line([0.0, -1.0, 0.5, 0.7])], log_y=True)
        assert any(is_drawn(character) for text in canvas(app.lines()) for character in text)
        chart.show([line([0.0, -1.0])], log_y=True)  # without positive values, the axis is linear
        assert "-1.0" in "\n".join(app.lines())


async def test_line_chart_draws_marks_unless_crowded(stage: OpenStage) -> None:
    chart = LineChart()
    async with stage(chart, (80, 14)) as (app, _):
        marks = [ChartMark(2, 8.0, "was best"), ChartMark(9, 1.0, "best")]
        chart.show([line([10.0 - step for step in range(10)])], limit=10, marks=marks)
        text = "".join(app.lines())
        assert (text.count("◆"), text.count("•")) == (1, 1)
        crowd = [ChartMark(step / 10, 5.0, "was best") for step in range(99)]
        chart.show([line([10.0 - step for step in range(10)])], limit=10, marks=[*crowd, ChartMark(9, 1.0, "best")])
        text = "".join(app.lines())
        assert (text.count("◆"), text.count("•")) == (1, 0)


async def test_line_chart_draws_cursor_as_vertical_line(stage: OpenStage) -> None:
    chart = LineChart()
    async with stage(chart, (67, 12)) as (app, _):
        chart.show([line([5.0] * 60)], limit=60, cursor=30.0)
        columns = [text.index("│") for text in canvas(app.lines()) if "│" in text]
        assert set(columns) == {30}
        assert len(columns) >= len(canvas(app.lines())) - 1


async def test_line_chart_gives_series_legend_and_colours(stage: OpenStage) -> None:
    chart = LineChart("compare")
    async with stage(chart, (80, 14)) as (app, _):
        chart.show([Series(f"run {n} 名前 [red]", [0, 1], [n, n], n) for n in range(3)])
        assert app.lines()[0].count("名前 [red]") == 3
        assert len({style.color for style in app.styled("━ ")}) == 3


@pytest.mark.parametrize("size", [(80, 24), (30, 6), (20, 5), (20, 4), (14, 3), (10, 3), (3, 1), (200, 60)])
async def test_line_chart_fits_every_size(stage: OpenStage, size: tuple[int, int]) -> None:
    chart = LineChart("a title that is rather long for some of these")
    chart.styles.min_height = 1
    async with stage(chart, size) as (app, _):
        for series in ([], [line([1.0, 2.0])], [line([math.nan])]):
            chart.show(series, note="log y", log_y=True, cursor=1.5, marks=[ChartMark(1, 1.0)])
            assert len(app.lines()) == size[1]


async def test_line_chart_repaints_only_new_part(stage: OpenStage, repainted: list[float]) -> None:
    chart = LineChart()
    x, y = list(range(100)), [100.0 - step for step in range(100)]
    async with stage(chart, (80, 20)) as (app, pilot):
        chart.show([Series("loss", x, y)], limit=1000)
        await until_idle(pilot)
        repainted.clear()
        for step in range(100, 140):
            x.append(step)
            y.append(0.5)
            chart.show([Series("loss", x, y)], limit=1000)
            await until_idle(pilot)
        assert sum(repainted) < 40
        before = app.lines()
        chart._lines, chart._drawn, chart._binners = [], None, {}
        chart.redraw()
        assert app.lines() == before


async def test_line_chart_changes_colours_with_theme(stage: OpenStage) -> None:
    chart = LineChart()
    async with stage(chart) as (app, pilot):
        chart.show([line([1.0, 2.0, 3.0])])
        await until_idle(pilot)
        before = {style.color for style in app.styled("⠤")} | {style.color for style in app.styled("⡠")}
        app.theme = "clear"
        await until_idle(pilot)
        assert before.isdisjoint(
            {style.color for style in app.styled("⠤")} | {style.color for style in app.styled("⡠")}
        )


def test_to_dots_merges_indistinguishable_points() -> None:
    x, y = count_scale(100, 5), linear_scale(0, 1, 4)
    noisy = plot.PlotData(
        x,
        y,
        [plot.PlotLine(16, [step / 100 for step in range(10_000)], [0.5 + step % 2 * 1e-6 for step in range(10_000)])],
    )
    assert len(plot.to_dots(noisy, 60, 12).lines[0].x) == 2
    moved = noisy._replace(lines=[noisy.lines[0]._replace(y=[value + 1e-6 for value in noisy.lines[0].y])])
    assert plot.to_dots(noisy, 60, 12) == plot.to_dots(moved, 60, 12)


def test_chart_import_loads_no_plotext() -> None:
    code = (
        "import sys, dipddpm.tui.console.widgets.chart;"
        "sys.exit(any(name in sys.modules for name in ('plotext', 'torch', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
