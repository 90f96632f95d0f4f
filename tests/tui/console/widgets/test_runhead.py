"""The lines about a run: where it resumes and why it failed are readable at every width."""

from __future__ import annotations

import pytest

from dipddpm.core.events import NoiseEstimated, RunFailed, StageStarted, TileRestored
from dipddpm.core.means import Quality
from dipddpm.core.runs import RunState
from dipddpm.tui.console.model.series import RunSeries
from dipddpm.tui.console.widgets.runhead import RunHead
from dipddpm.tui.shared.runlist import RunRow
from tests.tui.console.widgets.conftest import OpenStage
from tests.tui.driving import until_idle

POINT = "resumes at epoch 13 of 100, step 5,628; repeats 272 steps (16:40)"


@pytest.mark.parametrize("width", [48, 120])
async def test_run_head_shows_where_run_resumes_and_why_it_ended(stage: OpenStage, width: int) -> None:
    row = RunRow(id="20261123-094512-ddpm-3f9a", state=RunState.crashed, started=1.0, resume=POINT)
    head = RunHead()
    async with stage(head, (width, 12)) as (app, pilot):
        head.show(row, None, None)
        await until_idle(pilot)
        words = " ".join(" ".join(app.lines()).split())
        assert POINT in words
        assert "r resumes the run" in words
        head.show(row, None, 7)
        await until_idle(pilot)
        assert "resumes at" not in " ".join(app.lines())


@pytest.mark.parametrize("width", [30, 48, 80, 300])
async def test_lines_of_a_long_error_have_one_indent(stage: OpenStage, width: int) -> None:
    error = "/tmp/b16.tif is damaged or cut short. 2 more can't be read: /tmp/b7.tif and /tmp/b8.tif."
    row = RunRow(id="20261123-094512-dip-3f9a", state=RunState.failed, started=1.0)
    series = RunSeries()
    series.feed([RunFailed(error=error, hint="Copy or save the files again.")])
    head = RunHead()
    head.styles.max_height = 12
    async with stage(head, (width, 14)) as (app, pilot):
        head.show(row, series, None)
        await until_idle(pilot)
        first, *others = [line for line in app.lines() if line.strip()]
        assert first.startswith(" \u2717 ")
        assert all(line.startswith("   ") and line[3] != " " for line in others)
        assert error in " ".join(" ".join(others).split())


@pytest.mark.parametrize("width", [48, 120])
async def test_head_of_a_given_picture_shows_phase_noise_and_prediction(stage: OpenStage, width: int) -> None:
    quality = Quality(19.0, 20.3, 30.1, 29.0, 31.0)
    row = RunRow(id="20261123-094512-image-3f9a", kind="image", state=RunState.running, started=1.0, quality=quality)
    series = RunSeries()
    series.feed(
        [
            NoiseEstimated(image=0, kind="gaussian", text="Gaussian noise of sigma 20.3"),
            StageStarted(step=2, title="Restoring with nlm", stage=2, stages=2),
            TileRestored(step=3, tile=12, tiles=25),
        ]
    )
    head = RunHead()
    async with stage(head, (width, 12)) as (app, pilot):
        head.show(row, series, None)
        await until_idle(pilot)
        words = " ".join(" ".join(app.lines()).split())
        assert "restoring with nlm tile 12 of 25" in words
        assert "Gaussian noise of sigma 20.3; predicted PSNR 30.1 dB (29.0 to 31.0)" in words
