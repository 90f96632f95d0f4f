"""The lines about a run: where it resumes is readable at every width."""

from __future__ import annotations

import pytest

from dipddpm.core.runs import RunState
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
