"""A comparison of starts from end to end: all rows, the same measurement, the start's cost, exact resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from dipddpm.core import config as configs
from dipddpm.core.config import AccelerationRun
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.acceleration import AccelerationBoard, Variant
from dipddpm.core.events import DataLoaded, Document, Item, Pictures, RestorationsCompared, RestorationScored
from dipddpm.core.experiments.acceleration.experiment import AccelerationExperiment
from dipddpm.core.runs import Run
from tests.core.steps import resumed_at

TINY = {
    "data.dataset": "fashion-mini",
    "restore.tasks": ("inpaint:missing=0.5,sigma=10",),
    "restore.sets": ("fashion-mini", "glyphs"),
    "restore.methods": ("self-diffusion",),
    "restore.images": 2,
    "acceleration.nfe": "1,3",
    "acceleration.samples": "1,2",
    "acceleration.lle_images": 4,
    "dip.iterations": 4,
    "dip.channels": 4,
    "dip.stop": "never",
}
Build = Callable[..., AccelerationExperiment]


@pytest.fixture
def build(prior: Run) -> Build:
    def make(**settings: Any) -> AccelerationExperiment:
        given = {"prior.run": str(prior.folder), **TINY, **{k.replace("__", "."): v for k, v in settings.items()}}
        config = cast(AccelerationRun, configs.build("acceleration", settings=given))
        return AccelerationExperiment.from_config(config, "cpu")

    return make


def scores(items: list[Item]) -> list[RestorationScored]:
    return [item for item in items if isinstance(item, RestorationScored)]


def test_run_has_every_start_by_sampler_evaluations_and_samples(build: Build) -> None:
    items = list(build())
    board = AccelerationBoard(scores(items))
    assert len(board.cells) == 2
    for cell in board.cells.values():
        methods = {method for method, _ in cell.rows}
        expected = {
            Variant(start, sampler, nfe, samples).label
            for start in ("noise", "lle", "pinv", "classic", "dip")
            for sampler in ("ddnm", "diffpir")
            for nfe in (1, 3)
            for samples in (1, 2)
        }
        rungs = {f"dip > {rung} 3 x1" for rung in ("in-place", "mixed", "noised")}
        assert methods == {*expected, *rungs, "pinv", "classic", "dip", "self-diffusion"}
    assert any(isinstance(item, DataLoaded) and item.split == "train" for item in items)
    assert {item.name for item in items if isinstance(item, Document)} == {"scores.json", "scores.txt"}
    assert "acceleration" in {item.name for item in items if isinstance(item, Pictures)}
    assert any(isinstance(item, RestorationsCompared) for item in items)


def test_costs_of_a_row_are_its_starts_and_its_samples(build: Build) -> None:
    rows = {(row.set, row.method): row for row in scores(list(build()))}
    for (name, method), row in rows.items():
        variant = Variant.parse(method)
        if variant is None:
            continue
        assert row.nfe == variant.nfe * variant.samples
        if variant.start == "dip":
            assert row.iterations == rows[name, "dip"].iterations == 4
            assert row.seconds > rows[name, "dip"].seconds


def test_run_resumes_exactly_between_and_within_rows(build: Build) -> None:
    whole = list(build())
    for cuts in ([3, 40], [9, 60, 95]):
        resumed, _ = resumed_at(build, cuts)
        assert [(s.set, s.method, s.psnr) for s in scores(resumed)] == [
            (s.set, s.method, s.psnr) for s in scores(whole)
        ]


def test_extrapolation_needs_its_training_images(build: Build) -> None:
    with pytest.raises(UserError, match="fewer than the"):
        build(acceleration__lle_images=5_000)
    assert not any("lle" in job.method for job in build(acceleration__starts=("noise", "dip")).jobs)


@pytest.mark.parametrize("settings", [{"acceleration.nfe": "10,5"}, {"acceleration.samples": "8,8"}])
def test_counts_must_increase(settings: dict[str, str]) -> None:
    with pytest.raises(UserError, match="must increase"):
        configs.build("acceleration", settings=settings)
