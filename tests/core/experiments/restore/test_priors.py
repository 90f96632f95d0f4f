"""A hybrid and a head-to-head with two priors: both are loaded, named and weighed; nothing else takes a second one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from dipddpm.core import config as configs
from dipddpm.core.config import HybridRun, RestoreRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import Message, PriorLoaded, RestorationScored
from dipddpm.core.experiments.hybrid import HybridExperiment
from dipddpm.core.experiments.restore.experiment import RestoreExperiment
from dipddpm.core.launch import preflight
from dipddpm.core.runs import Run

TINY: dict[str, Any] = {"dip.iterations": 4, "dip.channels": 4, "dip.stop": "never"}


@pytest.fixture
def second(prior: Run, tmp_path: Path) -> Path:
    """Copy the prior's run under another name."""
    shutil.copytree(prior.folder, tmp_path / "second")
    return tmp_path / "second"


def test_hybrid_run_weighs_two_priors(prior: Run, second: Path) -> None:
    given = {"prior.run": str(prior.folder), "prior.second": str(second), "images.indices": "0-1", **TINY}
    few = {"hybrid.samples": 1, "hybrid.trial_samples": 1, "hybrid.steps": 4, "data.dataset": "fashion-mini"}
    config = configs.build("hybrid", task="inpaint:missing=0.5,sigma=10", settings={**given, **few})
    preflight.refuse(config)
    experiment = HybridExperiment.from_config(cast(HybridRun, config), "cpu")
    items = list(experiment)
    assert [item.run for item in items if isinstance(item, PriorLoaded)] == [prior.id, "second"]
    found = [(each.run, each.sha256) for each in experiment.inputs if isinstance(each, PriorLoaded)]
    assert found == [(each.run, each.sha256) for each in preflight._models(config)]
    (weights,) = [item.text for item in items if isinstance(item, Message) and item.text.startswith("Stacking")]
    assert "second-prior" in weights


def test_head_to_head_weighs_two_priors_and_baselines_take_the_first(prior: Run, second: Path) -> None:
    given = {
        "prior.run": str(prior.folder),
        "prior.second": str(second),
        "restore.tasks": ("inpaint:missing=0.5,sigma=10",),
        "restore.sets": ("glyphs",),
        "restore.methods": ("calibrated",),
        "restore.images": 2,
        "restore.seeds": 1,
        "restore.controls": False,
        **TINY,
    }
    config = cast(RestoreRun, configs.build("restore", settings=given))
    items = list(RestoreExperiment.from_config(config, "cpu"))
    assert [item.run for item in items if isinstance(item, PriorLoaded)] == [prior.id, "second"]
    (scored,) = [item for item in items if isinstance(item, RestorationScored) and item.method == "calibrated"]
    assert scored.trial is not None and scored.trial.candidates[-1] == "second-prior"


@pytest.mark.parametrize(("method", "run"), [("guided", "reference"), ("calibrated", "")])
def test_second_prior_is_refused_where_it_has_no_effect(method: str, run: str) -> None:
    with pytest.raises(UserError, match="takes no second prior"):
        configs.build("hybrid", method=method, settings={"prior.run": run, "prior.second": "reference-50"})


def test_missing_second_prior_is_refused_before_the_run_starts(prior: Run) -> None:
    given = {"prior.run": str(prior.folder), "prior.second": "/nowhere/run", "data.dataset": "fashion-mini"}
    with pytest.raises(UserError, match="/nowhere/run"):
        preflight.refuse(configs.build("hybrid", settings=given))
