from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.config import StudyRun
from dipddpm.core.errors import UserError
from dipddpm.core.experiments.study import StudyExperiment
from dipddpm.core.runs import Run, RunsFolder
from dipddpm.core.study.stages import Launcher, Stage, find_runs, is_own, stages
from tests.helpers import create_logged


def study(**settings: Any) -> StudyRun:
    config = configs.build("study", settings={key.replace("__", "."): value for key, value in settings.items()})
    assert isinstance(config, StudyRun)
    return config


FINISHED = events.RunFinished(seconds=1.0)
STOPPED = events.RunStopped(reason="asked to stop")


def find_run(runs: RunsFolder, wanted: Stage) -> Run | None:
    return next(find_runs(runs, wanted), None)


def stage(key: str, **settings: Any) -> Stage:
    return next(stage for stage in stages(study(**settings)) if stage.key == key)


def test_stages_of_default_study_have_published_settings() -> None:
    plan = {stage.key: stage.config for stage in stages(study())}
    assert list(plan) == ["ddpm", "dip", "substitution", "explanation", "hybrids"]
    # A plain `dipddpm run ddpm` has the same settings as the study's stage.
    bare = msgspec.structs.replace(plan["ddpm"], name="")
    assert bare == configs.build("ddpm")
    assert plan["dip"].task.sigma == 25  # type: ignore[union-attr]
    assert plan["dip"].images.image_indices() == list(range(10))  # type: ignore[union-attr]
    assert (plan["substitution"].method, plan["substitution"].ddpm.epochs) == ("substitution", 20)  # type: ignore[union-attr]
    long = stage("full", study__full=True)
    assert long.config.ddpm.epochs == 100  # type: ignore[union-attr]
    assert (long.longer_than, long.more) == ("substitution", 80)


@pytest.mark.parametrize("ignored", [{"name": "mine"}, {"device": "cpu"}, {"threads": 3}, {"checkpoint_seconds": 1.0}])
def test_find_run_ignores_name_and_machine(ignored: dict[str, Any], runs: RunsFolder) -> None:
    run = create_logged(runs, configs.build("ddpm", settings=ignored), FINISHED)
    assert find_run(runs, stage("ddpm")) == run


@pytest.mark.parametrize("other", [{"seed": 1}, {"ddpm.epochs": 19}, {"data.train_images": 10}, {"ddpm.lr": 0.002}])
def test_find_run_ignores_other_experiments(other: dict[str, Any], runs: RunsFolder) -> None:
    create_logged(runs, configs.build("ddpm", settings=other), FINISHED)
    assert find_run(runs, stage("ddpm")) is None


def test_find_run_ignores_prior_of_hybrid_that_trains(runs: RunsFolder) -> None:
    config = configs.build("hybrid", method="substitution", settings={"prior.run": ""})
    run = create_logged(runs, config, FINISHED)
    assert find_run(runs, stage("substitution")) == run


def test_find_run_prefers_finished_run(runs: RunsFolder) -> None:
    config = configs.build("ddpm")
    finished = create_logged(runs, config, FINISHED)
    stopped = create_logged(runs, stage("ddpm").config, STOPPED)
    assert list(find_runs(runs, stage("ddpm"))) == [finished, stopped]
    (finished.folder / "config.toml").write_text("kind = ")
    (finished.folder / "summary.json").unlink(missing_ok=True)
    assert find_run(runs, stage("ddpm")) == stopped


def test_find_run_leaves_unfinished_runs_of_others(runs: RunsFolder) -> None:
    theirs = create_logged(runs, configs.build("ddpm", settings={"name": "mine"}), STOPPED)
    assert find_run(runs, stage("ddpm")) is None
    assert not is_own(theirs, stage("ddpm"))
    own = create_logged(runs, stage("ddpm", seed=0).config, STOPPED)
    assert find_run(runs, stage("ddpm")) == own
    assert is_own(own, stage("ddpm"))
    assert find_run(runs, stage("ddpm", name="another study")) is None


def test_study_leaves_runs_whose_data_have_changed_with_a_warning(runs: RunsFolder) -> None:
    usable, changed = (create_logged(runs, stage("ddpm").config, FINISHED) for _ in range(2))

    def refuse_changed(run: Run) -> None:
        if run == changed:
            raise UserError("The run began with other data: folder:d has other images.", "Put the old files back.")

    def unused(*_: Any, **__: Any) -> Any:
        raise AssertionError("no worker is needed")

    assert next(find_runs(runs, stage("ddpm"))) == changed
    experiment = StudyExperiment(study(), Launcher(runs, unused, unused, unused, unused, refuse_changed))
    warning, first = (item for _, item in zip(range(2), experiment, strict=False))
    assert isinstance(warning, events.Message) and isinstance(first, events.Message)
    assert warning.level == "warning" and changed.id in warning.text and "folder:d has other images" in warning.text
    assert first.text == f"DDPM alone: {usable.id}, finished before"
