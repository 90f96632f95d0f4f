"""The methods of a cell: conditioned networks and their control take part only in the task of their training."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from dipddpm.core.compute import checkpoint
from dipddpm.core.config import HybridRun, RestoreRun, build, parse_task
from dipddpm.core.config.study import TASKS
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.rows import POSTERIOR_MEAN
from dipddpm.core.events import Input, Item, PriorLoaded, RestorationMissing, RestorationScored
from dipddpm.core.experiments.restore.experiment import RestoreExperiment
from dipddpm.core.experiments.restore.methods import NO_NETWORK, OTHER_TASK, ROWS
from dipddpm.core.methods.budget import baselines
from dipddpm.core.methods.conditioned import ConditionedModel
from dipddpm.core.runs import Run, RunsFolder
from tests.core.methods.cases import SMALL, case, ideal_prior, shapes

TASK = "inpaint:missing=0.5,sigma=10"
SETTINGS = {
    "restore.tasks": (TASK, "denoise:sigma=25"),
    "restore.sets": ("glyphs",),
    "restore.methods": ("conditioned", "prior-init"),
    "restore.images": 2,
    "restore.seeds": 1,
    "dip.iterations": 4,
    "dip.channels": 4,
    "dip.stop": "never",
}
Network = Callable[..., Path]


@pytest.fixture
def network(prior: Run, runs: RunsFolder) -> Network:
    """Return a factory for runs whose conditioned network is the prior's network plus a conditioning channel."""

    def make(conditioning: str = "dip", task: str = TASK) -> Path:
        settings: dict[str, Any] = {"prior.run": str(prior.folder), "hybrid.beside": conditioning}
        settings |= {"hybrid.steps": 3, "hybrid.samples": 2}
        settings |= {key: value for key, value in SETTINGS.items() if key.startswith("dip.")}
        run = runs.create(build("hybrid", method="conditioned", task=task, settings=settings))
        unconditioned = checkpoint.load(prior.folder / "checkpoints" / "best.safetensors")
        assert isinstance(unconditioned, UNet)
        checkpoint.save(run.folder / "checkpoints" / "best.safetensors", {}, unconditioned.with_cond_channels(1))
        return run.folder

    return make


def experiment(prior: Run, *networks: Path, **settings: Any) -> RestoreExperiment:
    given = {"prior.run": str(prior.folder), "restore.conditioned": tuple(map(str, networks)), **SETTINGS, **settings}
    return RestoreExperiment.from_config(cast(RestoreRun, build("restore", settings=given)), "cpu")


def rows(items: list[Item], task: str) -> list[tuple[str, str]]:
    return [(e.method, e.budget_of) for e in items if isinstance(e, RestorationScored) and e.task == task]


def test_restore_runs_conditioned_network_only_on_its_task(prior: Run, network: Network) -> None:
    made = experiment(prior, network("dip"), network("pinv"))
    items = list(made)
    assert rows(items, TASK)[:5] == [
        ("prior-init", ""),
        ("conditioned", ""),
        ("conditioned-pinv", ""),
        ("dip-mean", "prior-init"),
        ("dip-mean", "conditioned"),
    ]
    assert not [method for method, _ in rows(items, "denoise:sigma=25") if method.startswith("conditioned")]
    absent = [(e.task, e.method, e.why) for e in items if isinstance(e, RestorationMissing)]
    assert ("denoise:sigma=25", "conditioned", OTHER_TASK) in absent
    assert ("denoise:sigma=25", "conditioned-pinv", OTHER_TASK) in absent
    assert TASK not in [task for task, method, _ in absent if method.startswith("conditioned")]
    cost = {e.method: (e.nfe, e.iterations) for e in items if isinstance(e, RestorationScored) and e.task == TASK}
    assert (cost["conditioned"], cost["conditioned-pinv"]) == ((6, 4), (6, 0))


def test_missing_reasons_explain_absent_conditioned_network(prior: Run) -> None:
    made = experiment(prior, **{"restore.methods": ()})
    assert made.methods.missing_reasons(TASK)["conditioned"] == NO_NETWORK
    named = experiment(prior, **{"restore.methods": ("guided",)})
    assert "conditioned" not in named.methods.missing_reasons(TASK)


def test_restore_refuses_unusable_conditioned_networks(prior: Run, network: Network) -> None:
    with pytest.raises(UserError, match="is trained for deblur"):
        experiment(prior, network("dip", "deblur"))
    with pytest.raises(UserError, match="are both conditioned for inpaint"):
        experiment(prior, network("dip"), network("dip"))
    with pytest.raises(UserError, match="has trained no conditioned network"):
        experiment(prior, prior.folder)
    with pytest.raises(UserError, match="needs a network that is trained for the task"):
        build("restore", settings={"restore.methods": ("conditioned",)})


def test_conditioned_model_has_schedule_of_its_prior(prior: Run, network: Network) -> None:
    taken = ConditionedModel.of_run(network("dip"))
    options = cast(HybridRun, Run(network("dip")).config()).ddpm
    assert options.timesteps != 20
    assert (taken.model.options.timesteps, len(taken.model.schedule)) == (20, 20)
    assert torch.equal(
        taken.model.network.state_dict()["stem.weight"][:, :1],
        checkpoint.load(prior.folder / "checkpoints" / "best.safetensors").state_dict()["stem.weight"],
    )


def test_restore_yields_identity_of_conditioned_network(prior: Run, network: Network) -> None:
    folder = network("dip")
    given = experiment(prior, folder)
    opening = itertools.takewhile(lambda item: isinstance(item, Input), given)
    assert list(opening) == list(given.inputs)
    _, loaded = (item for item in given.inputs if isinstance(item, PriorLoaded))
    expected = hashlib.sha256((folder / "checkpoints" / "best.safetensors").read_bytes()).hexdigest()
    assert (loaded.run, loaded.sha256) == (folder.name, expected)
    assert loaded.role == f"The network for {TASK}, conditioned on DIP's result"


def test_restore_experiment_without_controls_scores_hybrids_and_baselines_only(prior: Run) -> None:
    settings = {"restore.methods": ("prior-init",), "restore.tasks": (TASK,), "restore.controls": False}
    items = list(experiment(prior, **settings))
    assert {method for method, _ in rows(items, TASK)} == {"prior-init", "dip-mean", "ddpm-mean"}
    assert not any(isinstance(item, RestorationMissing) for item in items)


@pytest.mark.parametrize(
    ("method", "task", "known"),
    [
        ("pinv", "denoise:sigma=25", ()),
        ("nlm", "denoise:sigma=25", ("noise level",)),
        ("nlm", "denoise:sigma=25,blind=true", ("estimates noise level",)),
        ("median", "denoise:noise=salt-and-pepper", ("impulse share",)),
        ("kriging", "denoise:noise=salt-and-pepper", ("detects impulses",)),
        ("ddnm-10", "denoise:noise=salt-and-pepper", ("trained prior", "impulse share")),
        ("dip", "denoise:noise=salt-and-pepper", ()),
        ("ddpm-robust", "deblur:noise=salt-and-pepper", ("trained prior",)),
        ("ddpm-equal", "denoise:noise=salt-and-pepper", ("trained prior", "detects impulses")),
        ("mmps-20", "denoise:sigma=50,blind=true", ("trained prior", "estimates noise level")),
        ("calibrated", "deblur:sigma=2", ("trained prior", "noise level", "equalizes spectrum")),
    ],
)
def test_methods_say_what_they_know(prior: Run, method: str, task: str, known: tuple[str, ...]) -> None:
    made = experiment(prior, **{"restore.methods": (), "restore.tasks": (task,)})
    assert made.methods.knows(method, task) == known
    assert method in made.methods.for_task(task)


def test_rows_for_impulses_are_left_out_of_other_tasks(prior: Run) -> None:
    made = experiment(prior, **{"restore.methods": ("prior-init",)}).methods
    for task in ("denoise:sigma=25", "inpaint", "superres", "deblur"):
        assert not {"ddpm-equal", "ddpm-robust"} & set(made.for_task(task))
    assert "ddpm-equal" in made.for_task("inpaint:noise=salt-and-pepper")
    assert "ddpm-equal" not in made.for_task("deblur:noise=salt-and-pepper")


def test_restore_names_package_that_classic_lacks(prior: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    made = experiment(prior, **{"restore.methods": ("prior-init",)}).methods
    assert "bm3d" not in made.for_task("denoise:sigma=25")
    assert "pip install dipddpm[bm3d]" in made.missing_reasons("denoise:sigma=25")["bm3d"]
    assert "bm3d" not in made.missing_reasons(TASK)


@pytest.mark.parametrize(
    "task",
    [*TASKS, "denoise:noise=poisson", "inpaint:noise=salt-and-pepper", "superres:noise=salt-and-pepper", "deblur"],
)
def test_board_and_hybrid_run_have_the_same_baselines(task: str) -> None:
    """A hybrid's own run is compared with the baselines that the board gives the same seconds."""
    truth = shapes(2)
    made = baselines(case(task, truth), ideal_prior(truth), SMALL, budgets=[1.0], clock=time.process_time)
    board = {row.name for row in ROWS if row.in_hybrid_time and row.restores(parse_task(task))}
    assert set(made) - {POSTERIOR_MEAN} == board
