"""A map of gains from end to end: several priors, shared fits of DIP, equal seconds, exact resume."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from dipddpm.core import config as configs
from dipddpm.core.config import MapRun
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.gain_map import MapBoard
from dipddpm.core.events import Item, Pictures, PriorLoaded, RestorationScored, TrialErrors
from dipddpm.core.experiments.gain_map.experiment import MapExperiment, prior_name
from dipddpm.core.experiments.gain_map.outlooks import hits
from dipddpm.core.launch import preflight
from dipddpm.core.runs import CONFIG_FILE, Run
from tests.core.steps import resumed_at

TASKS = ("inpaint:missing=0.5,sigma=10", "deblur:width=1,sigma=4")
TINY: dict[str, Any] = {
    "data.dataset": "fashion-mini",
    "restore.tasks": TASKS,
    "restore.sets": ("glyphs",),
    "restore.images": 2,
    "map.samples": 1,
    "map.trial_samples": 1,
    "dip.iterations": 4,
    "dip.channels": 4,
    "dip.stop": "never",
}
Build = Callable[..., MapExperiment]


@pytest.fixture
def other(prior: Run, tmp_path: Path) -> Path:
    """Copy the prior's run, whose config then names seven training images."""
    folder = tmp_path / "other"
    shutil.copytree(prior.folder, folder)
    config = configs.load(folder / CONFIG_FILE)
    data = msgspec.structs.replace(config.data, train_images=7)
    (folder / CONFIG_FILE).write_text(configs.to_toml(msgspec.structs.replace(config, data=data)))
    return folder


@pytest.fixture
def build(prior: Run, other: Path) -> Build:
    def make(**settings: Any) -> MapExperiment:
        given = {"prior.run": str(prior.folder), "prior.others": (str(other),), **TINY, **settings}
        config = cast(MapRun, configs.build("map", settings=given))
        return MapExperiment.from_config(config, "cpu")

    return make


def scores(items: list[Item]) -> list[RestorationScored]:
    return [item for item in items if isinstance(item, RestorationScored)]


def test_each_prior_has_a_hybrid_a_control_and_a_baseline_in_the_same_time(build: Build, other: Path) -> None:
    items = list(build())
    found = scores(items)
    small = prior_name(other)
    assert small == "7 of fashion-mini"
    large = next(prior for prior in MapBoard(found).priors if prior != small)
    for task in TASKS:
        rows = {(row.method, row.budget_of) for row in found if row.task == task}
        expected: set[tuple[str, str]] = set()
        for prior in (small, large):
            hybrid = f"calibrated with {prior}"
            parts = ("dip-and-diffusion", "without-dip", "without-diffusion")
            expected |= {(hybrid, ""), (f"ddpm-mean with {prior}", hybrid), *((f"{p} with {prior}", "") for p in parts)}
            expected |= {(name, hybrid) for name in ("dip-mean", *(["dip-equal"] if "deblur" in task else []))}
        classics = {
            ("pinv", ""),
            *((name, "") for name in (["wiener"] if "deblur" in task else ["kriging", "biharmonic"])),
        }
        assert {row for row in rows if " with " in row[0] or row[1]} == expected
        assert classics <= rows
    assert len([item for item in items if isinstance(item, PriorLoaded)]) == 2
    assert "map" in {item.name for item in items if isinstance(item, Pictures)}
    cells = MapBoard(found).map_cells
    assert len(cells) == 4
    assert all(cell.trial and "fit" in cell.trial.candidates for cell in cells)
    seconds = {(row.task, row.method): row.seconds for row in found if not row.budget_of}
    for (task, method), cost in seconds.items():
        if method.startswith("without-dip"):  # it shares the run of the hybrid, whose time it reports
            assert cost >= seconds[task, method.replace("without-dip", "calibrated")]


def test_priors_of_the_same_images_are_refused(build: Build, prior: Run) -> None:
    with pytest.raises(UserError, match="Two priors are trained on"):
        build(**{"prior.others": (str(prior.folder), str(prior.folder / "."))})


def test_missing_prior_is_refused_before_the_run_starts(prior: Run) -> None:
    given = {"prior.run": str(prior.folder), "prior.others": ("/nowhere/run",), **TINY}
    with pytest.raises(UserError, match="/nowhere/run"):
        preflight.refuse(configs.build("map", settings=given))


def test_conditioned_networks_are_refused_before_the_run_starts(prior: Run) -> None:
    given = {"prior.run": str(prior.folder), "prior.others": (), "restore.conditioned": ("some-run",), **TINY}
    with pytest.raises(UserError, match="conditioned networks"):
        preflight.refuse(configs.build("map", settings=given))


def test_map_takes_one_hybrid_alone() -> None:
    with pytest.raises(UserError, match="calibrated alone"):
        configs.build("map", settings={"restore.methods": ("guided",)})


def test_map_resumes_exactly(build: Build) -> None:
    """The numbers of a baseline's runs depend on the clock, so only the hybrids are compared."""
    whole, (resumed, _) = list(build()), resumed_at(build, [7, 30])
    rows = [
        [(s.method, s.task, s.psnr, s.trial) for s in scores(items) if not s.budget_of] for items in (whole, resumed)
    ]
    assert rows[0] == rows[1]


def test_outlook_is_compared_where_bounds_exclude_zero() -> None:
    """DIP's own errors are independent of the others' in the trial, so that it is expected to help."""
    helps = TrialErrors(candidates=["diffusion", "fit"], products=[[[1.0, 0.0], [0.0, 1.0]]] * 2)
    useless = TrialErrors(candidates=["diffusion", "fit"], products=[[[1.0, 1.0], [1.0, 9.0]]] * 2)

    def cell(task: str, by_dip: float, trial: TrialErrors) -> list[RestorationScored]:
        rows = {"calibrated": by_dip, "dip-and-diffusion": 0.0, "without-dip": 0.0, "without-diffusion": 0.0}
        rows |= {"ddpm-mean": 0.0, "dip-mean": -1.0}
        return [
            RestorationScored(
                task=task,
                set="glyphs",
                method=name if name == "dip-mean" else f"{name} with 7 of glyphs",
                psnr=[20 + gain, 21 + 1.1 * gain, 22 + gain],
                budget_of="calibrated with 7 of glyphs" if name in {"ddpm-mean", "dip-mean"} else "",
                trial=trial if name == "calibrated" else None,
            )
            for name, gain in rows.items()
        ]

    events = [
        *cell("right", 1.0, helps),
        *cell("wrong", -1.0, helps),
        *cell("right too", -1.0, useless),
        *cell("undecided", 0.0, helps),
    ]
    found = hits(MapBoard(events))
    assert found.right == 2 and [each.task for each in found.wrong] == ["wrong"]
    assert found.text == "2 of 3 cells whose bounds exclude 0"
