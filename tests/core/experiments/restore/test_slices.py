"""Images that are added to a finished head-to-head: the same measurements, joined rows, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import msgspec
import pytest
import torch

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.config import RestoreRun
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.rows import DDPM_MEAN, DIP_MEAN
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import Event, Item, Message, RestorationScored
from dipddpm.core.experiments.restore import methods
from dipddpm.core.experiments.restore.cell import degrade_job
from dipddpm.core.experiments.restore.experiment import RestoreExperiment
from dipddpm.core.launch import preflight
from dipddpm.core.runs import EventLog, Run, RunsFolder
from dipddpm.core.runs.slices import earlier_results, with_images
from tests.core.steps import resumed_at

SETTINGS = {
    "restore.tasks": ("deblur:width=1.5,sigma=2",),
    "restore.sets": ("glyphs",),
    "restore.methods": ("prior-init",),
    "restore.images": 2,
    "restore.seeds": 1,
    "dip.iterations": 2,
    "dip.channels": 4,
    "dip.stop": "never",
}
EXACT = ("pinv", "wiener")
"""Methods whose restoration of an image depends neither on the other images nor on a random number."""


def make(prior: Run, **settings: Any) -> RestoreRun:
    given = {"prior.run": str(prior.folder), **SETTINGS, **{k.replace("__", "."): v for k, v in settings.items()}}
    return cast(RestoreRun, configs.build("restore", settings=given))


def carry_out(config: RestoreRun) -> list[Item]:
    return list(RestoreExperiment.from_config(config, "cpu"))


def logged(runs: RunsFolder, config: RestoreRun, items: Iterable[Item], *, end: bool = True) -> Run:
    """Make a run of this config with the events among these items in its log."""
    run = runs.create(config)
    log = EventLog(run.folder)
    log.append(events.RunStarted(kind="restore", method=config.method, device="cpu"))
    for item in items:
        if isinstance(item, Event):
            log.append(item)
    if end:
        log.append(events.RunFinished(seconds=1.0))
    log.close()
    return run


@pytest.fixture(scope="module", autouse=True)
def few_rows() -> Iterator[None]:
    """Leave out the methods that take long."""
    with pytest.MonkeyPatch.context() as patch:
        rows = tuple(row for row in methods.ROWS if row.name in {*EXACT, DIP_MEAN, DDPM_MEAN, "ddnm-10"})
        patch.setattr(methods, "ROWS", rows)
        yield


@pytest.fixture(scope="module")
def first(prior: Run) -> list[Item]:
    """Return the items of a head-to-head on the images 0 and 1."""
    return carry_out(make(prior))


def scores(items: Iterable[Item]) -> list[RestorationScored]:
    return [item for item in items if isinstance(item, RestorationScored)]


def test_board_in_two_slices_equals_board_in_one_go(prior: Run, runs: RunsFolder, first: list[Item]) -> None:
    run = logged(runs, make(prior), first)
    config = with_images(run, "2-3")
    grown = carry_out(config)
    board, whole = (Scoreboard(scores(items)) for items in (grown, carry_out(make(prior, restore__images=4))))
    assert board.cells.keys() == whole.cells.keys()
    compared = set()
    for key, cell in board.cells.items():
        assert cell.size == whole.cells[key].size == "4 images, 1 seed"
        assert cell.rows.keys() == whole.cells[key].rows.keys()
        for row in cell.rows.values():
            assert list(row.by_image) == [0, 1, 2, 3]
            if row.method in EXACT:
                compared.add(row.method)
                assert row.psnr == pytest.approx(whole.cells[key].rows[row.method, ""].psnr, abs=1e-9)
        hybrid = cell.rows["prior-init", ""]
        seconds = [event.seconds for event in scores(grown) if event.method == "prior-init" and event.task == key[0]]
        assert hybrid.average("seconds") == pytest.approx(sum(seconds))
        assert len(seconds) == 2
    assert compared == set(EXACT)
    (text,) = [item.text for item in grown if isinstance(item, Message) and item.text.startswith("Adds")]
    assert text == f"Adds the images 2 to 3 of each set to those of {run.id}."
    (verdict, *_) = [item.text for item in grown if isinstance(item, Message) and "prior-init - " in item.text]
    assert verdict.startswith("deblur:width=1.5,sigma=2 on glyphs, 4 images, 1 seed: prior-init - ")


def test_image_has_same_measurement_in_every_slice_and_methods_other_seeds(prior: Run) -> None:
    whole = RestoreExperiment.from_config(make(prior, restore__images=4), "cpu")
    part = RestoreExperiment.from_config(make(prior, restore__first=2), "cpu")
    (case, truth), (other, added) = (degrade_job(e.jobs[0], e.sets["glyphs"], e.device) for e in (whole, part))
    assert torch.equal(truth[2:], added)
    assert torch.equal(case.y[2:], other.y)
    assert case.seed != other.seed


def test_added_images_resume_exactly(prior: Run, runs: RunsFolder, first: list[Item]) -> None:
    config = with_images(logged(runs, make(prior), first), "2-3")

    def build() -> RestoreExperiment:
        return RestoreExperiment.from_config(config, "cpu")

    def comparable(items: list[Item]) -> list[RestorationScored]:
        fixed = (msgspec.structs.replace(event, seconds=0.0) for event in scores(items))
        return [event for event in fixed if event.method not in {DIP_MEAN, DDPM_MEAN}]

    items, _ = resumed_at(build, [1, 9])
    assert comparable(items) == comparable(list(build()))


def test_adding_images_refuses_gap_overlap_other_options_and_unfinished_runs(
    prior: Run, runs: RunsFolder, first: list[Item]
) -> None:
    run = logged(runs, make(prior), first)
    for indices in ("1-2", "3-4", "0-1"):
        with pytest.raises(UserError, match=rf"{run.id} end with 1, so those to add begin with 2\. Add 2-"):
            with_images(run, indices)
    with pytest.raises(UserError, match="no range of images"):
        with_images(run, "2,4")
    config = with_images(run, "2-5")
    assert (config.restore.first, config.restore.images) == (2, 4)
    preflight.refuse(config)
    other = msgspec.structs.replace(config, seed=7, dip=msgspec.structs.replace(config.dip, iterations=3))
    with pytest.raises(UserError, match=r"seed was 0 and is 7, dip\.iterations was 2 and is 3"):
        preflight.refuse(other)
    stopped = logged(runs, make(prior), first, end=False)
    with pytest.raises(UserError, match=rf"Resume it first: dipddpm resume {stopped.id}"):
        with_images(stopped, "2-3")
    with pytest.raises(UserError, match="can only be added to a head-to-head"):
        with_images(prior, "2-3")
    missing = msgspec.structs.replace(config, restore=msgspec.structs.replace(config.restore, earlier="/nowhere"))
    with pytest.raises(UserError, match="doesn't exist: /nowhere"):
        preflight.refuse(missing)


def test_adding_images_refuses_rows_that_cannot_be_joined(prior: Run, runs: RunsFolder, first: list[Item]) -> None:
    old = [
        msgspec.structs.replace(item, method="classic")
        if isinstance(item, RestorationScored) and item.method == "wiener"
        else item
        for item in first
    ]
    run = logged(runs, make(prior), old)
    config = with_images(run, "2-3")
    assert len(earlier_results(config)) == len(scores(first))
    with pytest.raises(UserError, match=r"compares other methods for .* than this run would: classic, wiener"):
        next(item for item in RestoreExperiment.from_config(config, "cpu") if isinstance(item, RestorationScored))
