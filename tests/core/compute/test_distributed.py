"""Tests of runs shared by several processes: the results of one process, one writer, a clear end if a process dies."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from dipddpm.core import config as configs
from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.config import DdpmRun, SharedRun
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.rows import DDPM_MEAN, DIP_MEAN
from dipddpm.core.events import (
    BestModel,
    BestModelStored,
    EarlyStopped,
    EpochFinished,
    PsnrMeasured,
    RestorationScored,
    RestoredImages,
    RunFailed,
    RunResumed,
    Step,
    StopsCompared,
    Tensors,
)
from dipddpm.core.launch import local, queue
from dipddpm.core.launch.failure import PROCESS_ENDED
from dipddpm.core.runs import BEST_FILE, Run, RunsFolder, RunState, heartbeat
from dipddpm.core.runs.equivalence import comparable_config
from dipddpm.tui.cli.run import RunOptions
from tests.core import sharing
from tests.helpers import Build, Until


@given(size=st.integers(0, 1000), count=st.integers(1, 64))
def test_process_group_shards_cover_whole_evenly(size: int, count: int) -> None:
    parts = [ProcessGroup(rank, count).shard(size) for rank in range(count)]
    assert [index for part in parts for index in range(size)[part]] == list(range(size))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_process_group_of_one_returns_its_own_values() -> None:
    alone, cpu = ProcessGroup.current(), torch.device("cpu")
    assert alone == ProcessGroup(0, 1)
    assert alone.shard(7) == slice(0, 7)
    assert alone.broadcast(0.1, cpu) == 0.1
    assert alone.any_rank([True, False], cpu) == [True, False]
    assert alone.gather(3, to_all=True) == alone.gather(3, to_all=False) == [3]
    network = torch.nn.Linear(1, 1)
    assert alone.wrap(network) is network


def test_queue_acquire_takes_several_devices_together_or_none() -> None:
    gpus = ["cuda:0", "cuda:1", "cuda:2"]
    two = queue.acquire("two", gpus, 2)
    assert two is not None
    assert two.devices == ["cuda:0", "cuda:1"]
    waited: list[int] = []
    assert queue.acquire("three", gpus, 3, should_give_up=lambda: bool(waited), on_position=waited.append) is None
    last = queue.acquire("one", gpus)
    assert last is not None
    assert last.devices == ["cuda:2"], "the request for three devices that gave up holds none"
    two.release()
    last.release()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"processes": 2, "device": "cuda:1"}, "device must be auto or cpu"),
        ({"processes": 2, "unet.dropout": 0.1}, "dropout"),
    ],
)
def test_config_refuses_settings_processes_cannot_share(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        configs.build("ddpm", settings=settings)


@pytest.mark.parametrize(
    ("kind", "settings", "problem"),
    [
        ("dip", {"images.indices": "3"}, r"2 processes for only 1 image\(s\)"),
        ("dip", {"images.files": ("a.png",)}, r"2 processes for only 1 image\(s\)"),
        (
            "restore",
            {"restore.tasks": ("denoise",), "restore.sets": ("glyphs",), "restore.seeds": 1},
            r"2 processes for only 1 degraded set\(s\)",
        ),
    ],
)
def test_config_refuses_process_without_work(kind: str, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        configs.build(kind, settings={**settings, "processes": 2})


def test_run_options_refuse_several_processes_for_hybrid() -> None:
    shared = RunOptions(kind="dip", processes=2).config()
    assert isinstance(shared, SharedRun)
    assert shared.processes == 2
    with pytest.raises(UserError, match="A hybrid runs in one process"):
        RunOptions(kind="hybrid", processes=2).config()


@pytest.mark.parametrize("kind", ["dip", "ddpm", "restore"])
def test_comparable_config_ignores_number_of_processes(kind: str) -> None:
    one, two, other = (configs.build(kind, settings=s) for s in ({}, {"processes": 2}, {"seed": 1}))
    assert comparable_config(two) == comparable_config(one) != comparable_config(other)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, train_prior: Callable[[dict[str, Any]], Run]) -> dict[str, Any]:
    """Return the results of rank 0 of two processes, which this process is, and the folder of their prior."""
    settings = {"data.dataset": "fashion-mini", "data.train_images": 64, "ddpm.timesteps": 20, "ddpm.samples": 0}
    prior = str(train_prior(settings | {"ddpm.network": "unet", "unet.channels": "8,8"}).folder)
    store = str(tmp_path_factory.mktemp("together") / "store")
    command = [sys.executable, "-m", "tests.core.sharing", "1", store, prior]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as second:
        sharing.join(0, store)
        try:
            results = sharing.carry_out(prior)
        finally:
            dist.destroy_process_group()
    assert second.returncode == 0
    return {**results, "prior": prior}


@pytest.mark.slow
def test_process_group_gathers_values_of_two_processes(together: dict[str, Any]) -> None:
    assert [(part["rank"], part["loss"], part["images"][0].tolist()) for part in together["gathered"]] == [
        (0, math.inf, [0.5]),
        (1, math.inf, [0.5, 0.5]),
    ]
    assert together["collected"] == [{0: "part"}, {1: "part"}]
    assert together["any"] == [True, False]


@pytest.mark.slow
def test_dip_of_two_processes_yields_and_resumes_like_one(
    together: dict[str, Any], plain: Callable[[Any], Any]
) -> None:
    alone = sharing.dip()
    assert together["dip alone"] == 2, "this process fits two of the three networks"
    assert len(alone.fit.indices) == 3
    expected = [_comparable(item, plain) for item in alone]
    assert sharing.stops(together["dip"])
    assert [_comparable(item, plain) for item in together["dip"]] == expected
    assert [_comparable(item, plain) for item in together["dip resumed"]] == expected
    fewer = sharing.dip()
    fewer.load_state_dict(together["dip state"])
    assert [_comparable(item, plain) for item in [*together["dip before"], *fewer]] == expected


def test_dip_resume_refuses_more_processes_than_networks() -> None:
    one = sharing.dip(dip__batch=3)
    many = sharing.dip()
    many.process_group = ProcessGroup(0, 2)
    with pytest.raises(UserError, match=r"holds 1 network\(s\), and there are 2 processes"):
        many.load_state_dict(one.state_dict())


@pytest.mark.slow
def test_restore_of_two_processes_yields_and_resumes_like_one(
    together: dict[str, Any], plain: Callable[[Any], Any]
) -> None:
    def timeless(items: list[Any]) -> list[Any]:
        still = [item for item in items if getattr(item, "method", "") not in {DIP_MEAN, DDPM_MEAN}]
        scored = [item for item in still if isinstance(item, RestorationScored)]
        return [msgspec.structs.replace(item, seconds=0.0) for item in scored]

    def order(items: list[Any]) -> list[Any]:
        others = [item for item in items if not isinstance(item, Step)]
        return [(type(item), item.step if hasattr(item, "step") else None) for item in others]

    alone = list(sharing.restore(together["prior"]))
    assert timeless(together["restore"]) == timeless(alone)
    assert order(together["restore"]) == order(alone)
    begun = together["restore state"]["begun"].values()
    assert [bool(job["work"]) for job in begun] == [True, True], "both jobs are under way"
    resumed = sharing.restore(together["prior"])
    resumed.load_state_dict(together["restore state"])
    assert timeless([*together["restore before"], *resumed]) == timeless(alone)


def _comparable(item: Any, plain: Callable[[Any], Any]) -> Any:
    """Return an item without clock readings and with its tensors as lists."""
    if isinstance(item, Tensors | BestModel):
        tensors = {name: [value.tolist() for value in values] for name, values in item.tensors.items()}
        return (item.name, tensors) if isinstance(item, Tensors) else (plain(item), tensors)
    if isinstance(item, RestoredImages):
        return item.names, [[image.tolist() for image in images] for images in (item.restored, item.degraded)]
    return plain(item)


def shared(tiny: Build, **settings: Any) -> DdpmRun:
    """Return the config of a training whose last batch has one image, so that one of two ranks has none."""
    return tiny(processes=2, device="cpu", data__train_images=33, ddpm__batch_size=16, ddpm__samples=0, **settings)


def losses(run: Run) -> list[float]:
    return [event.loss for event in run.events() if isinstance(event, EpochFinished)]


@pytest.mark.slow
def test_ddpm_of_two_processes_has_losses_of_one(tiny: Build, runs: RunsFolder, until: Until) -> None:
    from dipddpm.core.experiments.ddpm import DdpmExperiment

    config = shared(tiny, ddpm__epochs=2, ddpm__network="tutorial", ddpm__ema=0.9, ddpm__clip=1.0)
    run = runs.create(config)
    local.start(run, now=True)
    alone = DdpmExperiment.from_config(config, "cpu")
    expected = [item.loss for item in alone if isinstance(item, EpochFinished)]
    until(lambda: not run.status().state.live)
    assert run.status().state is RunState.finished
    assert losses(run) == pytest.approx(expected, rel=1e-5)
    weights = load_file(run.folder / BEST_FILE)
    for name, value in alone.training.averaged.state_dict().items():
        (stored,) = (w for key, w in weights.items() if key.endswith(name) and w.shape == value.shape)
        torch.testing.assert_close(stored, value, rtol=1e-3, atol=1e-5)


@pytest.mark.durability
@pytest.mark.parametrize("killed", ["first", "second", "worker"])
def test_ddpm_of_two_processes_resumes_exactly_after_one_dies(
    tiny: Build, runs: RunsFolder, until: Until, killed: str
) -> None:
    config = shared(tiny, ddpm__epochs=8, checkpoint_seconds=0.0)
    whole = runs.create(config)
    local.start(whole, now=True)
    until(lambda: not whole.status().state.live)
    run = runs.create(config)
    local.start(run, now=True)
    until(lambda: any(isinstance(event, Step) and event.step > 3 for event in run.events()))
    os.kill(_process(run, killed), signal.SIGKILL)
    until(lambda: not run.status().state.live)
    state = run.status().state
    if killed == "worker":
        assert state in {RunState.crashed, RunState.stopped, RunState.failed}
    else:
        assert state is RunState.failed
        (failed,) = (event for event in run.events() if isinstance(event, RunFailed))
        assert (failed.error, failed.hint) == PROCESS_ENDED
    until(lambda: not _members(run))
    local.resume(run, now=True)
    until(lambda: run.status().state is RunState.finished)
    assert any(isinstance(event, RunResumed) for event in run.events())
    assert losses(run) == losses(whole)


def results_without_clock(run: Run) -> list[Any]:
    """Return the run's measurements without the values that depend on the clock."""
    fixed = {"time": 0.0, "offset": 0, "seconds": 0.0}
    return [
        msgspec.structs.replace(event, **{name: value for name, value in fixed.items() if hasattr(event, name)})
        for event in run.events()
        if isinstance(event, PsnrMeasured | EarlyStopped | StopsCompared | BestModelStored)
        or (isinstance(event, RestorationScored) and not event.budget_of)
    ]


@pytest.mark.durability
@pytest.mark.parametrize(
    ("kind", "own", "killed"),
    [
        ("dip", {**sharing.DIP, "dip.iterations": 200, "dip.patience": 150}, "second"),
        ("restore", {**sharing.RESTORE, "restore.seeds": 3, "restore.images": 3}, "first"),
    ],
)
def test_run_of_two_processes_resumed_after_kill_has_results_of_one(
    together: dict[str, Any], runs: RunsFolder, until: Until, *, kind: str, own: dict[str, Any], killed: str
) -> None:
    given = {**own, "device": "cpu", "threads": 1, "checkpoint_seconds": 0.0}
    if kind == "restore":
        given["prior.run"] = together["prior"]
    whole, run = (runs.create(configs.build(kind, settings={**given, "processes": count})) for count in (1, 2))
    local.start(whole, now=True)
    until(lambda: not whole.status().state.live, 300)
    local.start(run, now=True)
    until(lambda: len(results_without_clock(run)) >= 2)
    os.kill(_process(run, killed), signal.SIGKILL)
    until(lambda: not run.status().state.live)
    (failed,) = (event for event in run.events() if isinstance(event, RunFailed))
    assert (failed.error, failed.hint) == PROCESS_ENDED
    until(lambda: not _members(run))
    local.resume(run, now=True)
    until(lambda: run.status().state is RunState.finished, 300)
    assert any(isinstance(event, RunResumed) and event.from_step for event in run.events())
    assert results_without_clock(run) == results_without_clock(whole)


@pytest.mark.durability
def test_local_stop_reaches_all_processes_of_run(tiny: Build, runs: RunsFolder, until: Until) -> None:
    run = runs.create(shared(tiny, ddpm__epochs=10_000))
    local.start(run, now=True)
    until(lambda: any(isinstance(event, Step) for event in run.events()))
    assert local.stop(run) is RunState.stopped
    until(lambda: not _members(run))


def _members(run: Run) -> dict[int, int]:
    """Return the pids of the run's torchrun members, by rank."""
    members = {}
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if (
            "--member-of" in command
            and str(run.folder.resolve()) in command
            and "dipddpm.core.launch.torchrun" not in command
        ):
            members[int(process.environ()["RANK"])] = process.pid
    return members


def _process(run: Run, which: str) -> int:
    if which == "worker":
        worker = heartbeat.read(run.folder)
        assert worker is not None
        return worker.identity.pid
    return _members(run)[0 if which == "first" else 1]
