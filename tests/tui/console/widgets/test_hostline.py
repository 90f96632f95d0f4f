"""The host line: as many facts as fit, and no repainting without a change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dipddpm.tui.console.model.host import Gpu, HostSample
from dipddpm.tui.console.widgets.hostline import HostLine
from tests.tui.console.widgets.conftest import OpenStage
from tests.tui.driving import until_idle

BOX = HostSample("gpu-box", 12, 31.0, 126.0, (Gpu("H100", 61, 34.0, 80.0, 58, 312),))


async def shown(
    stage: OpenStage, width: int, sample: HostSample, queue: tuple[int, int] = (2, 1), runs_path: str = "./runs"
) -> str:
    host = HostLine()
    async with stage(host, (width, 2)) as (app, _):
        host.show(sample, queue, runs_path)
        return app.lines()[0]


async def test_host_line_shows_everything_with_room(stage: OpenStage) -> None:
    line = await shown(stage, 120, BOX)
    assert line.split() == (
        [
            "gpu-box",
            "H100",
            "61%",
            "34/80",
            "GB",
            "58°C",
            "312",
            "W",
            "cpu",
            "12%",
            "mem",
            "31/126",
            "GB",
            "2",
            "running",
            "1",
            "queued",
            "./runs",
        ]
    )


@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 200])
async def test_host_line_fits_width_and_keeps_queue(stage: OpenStage, width: int) -> None:
    line = await shown(stage, width, BOX)
    assert len(line) <= width
    if width >= 40:
        assert "2 running" in line


async def test_host_line_names_missing_gpu_and_idle_queue(stage: OpenStage) -> None:
    line = await shown(stage, 100, replace(BOX, gpus=()), (0, 0))
    assert "no GPU" in line
    assert "idle" in line


async def test_host_line_numbers_gpus_and_omits_unknown_values(stage: OpenStage) -> None:
    gpus = (Gpu("A100", 5, 1.0, 40.0, 40, 60), Gpu("A100", None, 2.0, 40.0, None, None))
    line = await shown(stage, 140, replace(BOX, gpus=gpus))
    assert "0:A100 5%  1/40 GB  40°C" in line
    assert "1:A100  2/40 GB   cpu" in line


async def test_host_line_emphasizes_hot_or_full_gpu(stage: OpenStage) -> None:
    host = HostLine()
    async with stage(host, (120, 2)) as (app, _):
        host.show(replace(BOX, gpus=(Gpu("H100", 61, 79.0, 80.0, 90, 312),)), (1, 0))
        assert app.styled("90°C")[0].bold
        assert app.styled("79/80 GB")[0].bold


async def test_host_line_repaints_only_changed_cells(stage: OpenStage, repainted: list[float]) -> None:
    host = HostLine()
    async with stage(host, (120, 2)) as (_, pilot):
        host.show(BOX, (2, 1), "./runs")
        await until_idle(pilot)
        repainted.clear()
        host.show(replace(BOX), (2, 1), "./runs")
        assert repainted == []
        host.show(replace(BOX, cpu=22), (2, 1), "./runs")
        assert sum(repainted) <= 3
