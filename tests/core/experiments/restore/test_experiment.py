"""The head-to-head: same measurements for all methods, same time for hybrids and baselines, exact resume."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest
import torch

from dipddpm.core import config as configs
from dipddpm.core.config import RestoreRun
from dipddpm.core.degrade.case import Case
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.rows import DDPM_MEAN, DIP_MEAN
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import (
    Document,
    Item,
    Pictures,
    PriorLoaded,
    RestorationMissing,
    RestorationsCompared,
    RestorationScored,
    Step,
)
from dipddpm.core.experiments.restore import methods as restore_methods
from dipddpm.core.experiments.restore.experiment import RestoreExperiment
from dipddpm.core.experiments.restore.methods import Models
from dipddpm.core.methods.closed_form import ClosedFormRestorer
from dipddpm.core.runs import Run
from tests.core.steps import resumed_at

TINY = {
    "restore.tasks": ("inpaint:missing=0.5,sigma=10", "denoise:sigma=50,blind=true"),
    "restore.sets": ("fashion-mini", "glyphs"),
    "restore.methods": ("prior-init",),
    "restore.images": 2,
    "restore.seeds": 1,
    "dip.iterations": 4,
    "dip.channels": 4,
    "dip.stop": "never",
}
Build = Callable[..., RestoreExperiment]


@pytest.fixture
def build(prior: Run) -> Build:
    def make(**settings: Any) -> RestoreExperiment:
        given = {"prior.run": str(prior.folder), **TINY, **{k.replace("__", "."): v for k, v in settings.items()}}
        return RestoreExperiment.from_config(cast(RestoreRun, configs.build("restore", settings=given)), "cpu")

    return make


@pytest.fixture(scope="module")
def whole(prior: Run) -> list[Item]:
    """Run the head-to-head without interruption, and return its items."""
    config = configs.build("restore", settings={"prior.run": str(prior.folder), **TINY})
    return list(RestoreExperiment.from_config(cast(RestoreRun, config), "cpu"))


def scores(items: list[Item]) -> list[RestorationScored]:
    return [item for item in items if isinstance(item, RestorationScored)]


def test_restore_scores_every_method_in_every_cell(whole: list[Item]) -> None:
    board = Scoreboard(scores(whole))
    assert len(board.cells) == 4
    methods = {"prior-init", DIP_MEAN, DDPM_MEAN, "pinv", "dip"}
    methods |= {f"{method}-{steps}" for method in ("ddnm", "diffpir") for steps in (10, 20, 100)}
    methods |= {"pigdm-20", "mmps-20", "dps-100"}
    for (task, _), cell in board.cells.items():
        holes, noise = {"kriging", "biharmonic"}, {"posterior-mean", "nlm", "tv", "wavelet", "nl-bayes"}
        extra = noise if task.startswith("denoise") else holes
        assert {method for method, _ in cell.rows} - {"bm3d"} == methods | extra
        assert {of for (method, of) in cell.rows if method in {DIP_MEAN, DDPM_MEAN}} == {"prior-init"}
        assert all(len(row.scored) == 1 for row in cell.rows.values())


def test_restore_classifies_only_images_with_classes(whole: list[Item]) -> None:
    classified = {(score.set, len(score.recognised)) for score in scores(whole)}
    assert classified == {("fashion-mini", 2), ("glyphs", 0)}


def test_restore_ends_with_pictures_board_and_plots(whole: list[Item]) -> None:
    pictures = [item for item in whole if isinstance(item, Pictures)]
    assert [p.name.rpartition("-")[0] for p in pictures] == ["cell"] * 4 + ["quality-time"] * 2
    first = pictures[0]
    assert first.panels[0] == "degraded"
    assert first.panels[-1] == "truth"
    assert len(first.images) == 2 * len(first.panels)
    written = {item.name: item.text for item in whole if isinstance(item, Document)}
    board = json.loads(written["scores.json"])
    assert len(board["cells"]) == 4
    gains = {(c["task"], c["set"]): c["gains"]["prior-init"]["all"] for c in board["cells"]}
    assert all(gain.pop("best") for gain in gains.values())
    again = Scoreboard(scores(whole))
    gain = again.cells["denoise:sigma=50,blind=true", "glyphs"].gain("prior-init", "all")
    assert gain is not None
    assert gains["denoise:sigma=50,blind=true", "glyphs"] == pytest.approx(gain._asdict())
    assert written["scores.txt"].startswith("inpaint:missing=0.5,sigma=10 on fashion-mini (2 images, 1 seed)\n")
    assert isinstance(whole[0], PriorLoaded)


@pytest.mark.slow
def test_restore_gives_methods_same_measurement_without_truth(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Case] = []

    class Watched(ClosedFormRestorer):
        def __init__(self, case: Case, formula: Callable[[Case], torch.Tensor]) -> None:
            given.append(case)
            super().__init__(case, formula)

    monkeypatch.setattr(restore_methods, "ClosedFormRestorer", Watched)
    experiment = build(restore__sets=("glyphs",), restore__tasks=("inpaint:missing=0.5,sigma=10",), restore__seeds=2)
    list(experiment)
    first, again, second = given[0], given[1], given[-1]
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.y, second.y)
    truth = experiment.sets["glyphs"].images.float() / 255
    assert not any(torch.equal(value, truth) for value in vars(first).values() if isinstance(value, torch.Tensor))


def comparable_scores(items: list[Item]) -> list[Any]:
    """Return the scores without seconds, and without the baselines, whose results depend on the clock."""
    return [
        msgspec.structs.replace(score, seconds=0.0)
        for score in scores(items)
        if score.method not in {DIP_MEAN, DDPM_MEAN}
    ]


@pytest.mark.slow
def test_restore_resumes_exactly_within_cell(build: Build, whole: list[Item]) -> None:
    items, _ = resumed_at(build, [1, 7, 150])
    assert comparable_scores(items) == comparable_scores(whole)
    assert [(s.task, s.set, s.seed, s.method) for s in scores(items)] == [
        (s.task, s.set, s.seed, s.method) for s in scores(whole)
    ]
    names, expected = ([item.name for item in run if isinstance(item, Pictures)] for run in (items, whole))
    assert names == expected


def test_restore_omits_hybrid_without_support_for_task(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    from dipddpm.core.config.hybrid import PriorInit

    monkeypatch.setattr(PriorInit, "tasks", frozenset({"denoise"}))
    items = list(build(restore__sets=("glyphs",), restore__seeds=1))
    board = Scoreboard(scores(items))
    inpainting, denoising = board.cells.values()
    assert ("prior-init", "") not in inpainting.rows
    assert (DIP_MEAN, "") in inpainting.rows
    assert ("prior-init", "") in denoising.rows
    absent = [item for item in items if isinstance(item, RestorationMissing)]
    # BM3D is an optional package.
    missing = [(item.method, item.failed) for item in absent if item.method != "bm3d"]
    assert missing == [("prior-init", False), ("posterior-mean", False)]


class Broken:
    """A method that raises an error after its first step."""

    nfe = iterations = 0

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Item]:
        yield Step(step=1)
        raise self.error

    def state_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (UserError("It can't.", "Take another."), "It can't. Take another."),
        (RuntimeError("NaN\nfound"), "RuntimeError: NaN found"),
    ],
)
def test_restore_reports_failed_method_and_continues(build: Build, error: Exception, why: str) -> None:
    experiment = build(restore__sets=("glyphs",), restore__tasks=("inpaint:missing=0.5,sigma=10",), restore__seeds=2)
    row = experiment.methods.rows["ddnm-10"]
    calls = itertools.count()

    def make(models: Models, case: Case, count: int) -> Any:
        return Broken(error) if next(calls) else row.make(models, case, count)

    experiment.methods.rows["ddnm-10"] = replace(row, make=make)
    items = list(experiment)
    (failed,) = [item for item in items if isinstance(item, RestorationMissing) and item.failed]
    assert (failed.method, failed.seed, failed.why) == ("ddnm-10", 1, why)
    assert experiment.step == len(experiment.jobs) == experiment.started().steps
    (scored,) = [item for item in items if isinstance(item, Document) and item.name == "scores.json"]
    (cell,) = json.loads(scored.text)["cells"]
    assert {"method": "ddnm-10", "failed": True, "why": why} in cell["missing"]
    assert "ddnm-10" not in [row["method"] for row in cell["methods"]]
    assert [len(row["psnr"]) for row in cell["methods"] if row["method"] == "ddnm-20"] == [2]
    compared = [item for item in items if isinstance(item, RestorationsCompared)]
    assert [(item.method, item.cells) for item in compared] == [("prior-init", 1)]


def test_restore_fails_when_every_method_fails(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = build(restore__sets=("glyphs",), restore__tasks=("inpaint:missing=0.5,sigma=10",), restore__seeds=1)
    monkeypatch.setattr(experiment.methods, "begin", lambda *_: Broken(UserError("It can't.", "Take another.")))
    with pytest.raises(UserError, match=r"Every method failed\. The first one failed with: It can't"):
        list(experiment)
