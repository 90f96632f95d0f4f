"""Tests of a sweep's plan: every combination once, the name of the group, and the existing runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.launch import sweep
from dipddpm.core.runs import RunsFolder, RunState
from dipddpm.core.runs.equivalence import runs_in_group
from tests.helpers import create_logged

FINISHED = events.RunFinished(seconds=1.0)
STOPPED = events.RunStopped(reason="asked to stop")


def dip(**settings: Any) -> AnyRun:
    return configs.build("dip", settings={key.replace("__", "."): value for key, value in settings.items()})


def test_sweep_combinations_cover_values_and_seeds_once() -> None:
    combinations = sweep.combinations({"dip.lr": ["0.1", "0.2"], "dip.channels": ["8", "16"]}, range(3, 5))
    assert len(combinations) == 8
    assert len({tuple(values.items()) for values in combinations}) == 8
    assert combinations[:2] == [
        {"dip.lr": "0.1", "dip.channels": "8", "seed": "3"},
        {"dip.lr": "0.1", "dip.channels": "8", "seed": "4"},
    ]
    assert sweep.label(combinations[0]) == "lr=0.1 channels=8 seed=3"


def test_sweep_combinations_refuse_too_many_runs() -> None:
    values = [str(n) for n in range(100_000)]
    with pytest.raises(UserError, match="10,000,000,000 runs"):
        sweep.combinations({"dip.lr": values}, range(100_000))


def test_sweep_short_separates_keys_with_same_last_word() -> None:
    keys = ["dip.channels", "unet.channels", "dip.lr"]
    assert [sweep.short(key, keys) for key in keys] == ["dip.channels", "unet.channels", "lr"]


@given(
    lr=st.floats(1e-6, 1.0),
    seed=st.integers(0, 2**32),
    ignored=st.sampled_from([{}, {"name": "mine"}, {"device": "cpu"}, {"threads": 2}, {"group": "old"}]),
)
def test_group_name_depends_on_fixed_settings_only(lr: float, seed: int, ignored: dict[str, Any]) -> None:
    name = sweep.group_name(dip(dip__lr=lr, seed=seed, **ignored), ["dip.lr"])
    assert name == sweep.group_name(dip(), ["dip.lr"])
    assert name.startswith("dip-lr-")
    assert name != sweep.group_name(dip(dip__lr=lr, dip__channels=13), ["dip.lr"])
    assert name != sweep.group_name(dip(dip__lr=lr), ["dip.channels"])
    dip(group=name)  # a config accepts the name


def test_group_name_is_same_for_swept_methods_or_tasks() -> None:
    hybrids = [configs.build("hybrid", method=method) for method in ("calibrated", "guided", "self-diffusion")]
    assert len({sweep.group_name(config, ["hybrid.method"]) for config in hybrids}) == 1
    tasks = [configs.build("dip", task=task) for task in ("denoise", "inpaint:missing=0.7", "superres")]
    assert len({sweep.group_name(config, ["task"]) for config in tasks}) == 1
    assert len({sweep.group_name(config, ["dip.lr"]) for config in tasks}) == 3


def test_sweep_plan_reuses_finished_and_resumes_stopped_runs(runs: RunsFolder) -> None:
    configs_ = [dip(dip__lr=lr, group="g", name=f"lr={lr}") for lr in (0.1, 0.2, 0.3)]
    done = create_logged(runs, dip(dip__lr=0.1, group="g", name="another name"), FINISHED)
    create_logged(runs, configs_[0], STOPPED)  # the plan prefers the finished run
    stopped = create_logged(runs, configs_[1], STOPPED)
    create_logged(runs, dip(dip__lr=0.3, group="another"), FINISHED)
    planned = sweep.plan(runs_in_group(runs.runs(), "g"), configs_)
    assert [(plan.run, plan.state, plan.needs_start) for plan in planned] == [
        (done, RunState.finished, False),
        (stopped, RunState.stopped, True),
        (None, None, True),
    ]
    assert [plan.how for plan in planned] == ["finished already", "stopped, resumes", "new"]


def test_sweep_plan_refuses_two_equal_experiments() -> None:
    with pytest.raises(UserError, match=r"'a' and 'b' are the same experiment"):
        sweep.plan([], [dip(dip__lr=0.1, name="a"), dip(dip__lr=0.10, threads=3, name="b")])
