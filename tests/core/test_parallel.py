"""Several processes at one training: the same losses as one, one writer, and a clear end when one of them dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from core import config as configs
from core import launch, slots
from core.config import DdpmRun
from core.errors import UserError
from core.events import EpochFinished, RunFailed, RunResumed, Step
from core.parallel import Ranks
from core.runs import BEST_FILE, Run, RunsFolder, State, life
from core.worker import BEREFT

Build = Callable[..., DdpmRun]
Until = Callable[..., Any]


@given(size=st.integers(0, 1000), count=st.integers(1, 64))
def test_the_parts_of_all_ranks_are_the_whole(size: int, count: int) -> None:
    parts = [Ranks(rank, count).part(size) for rank in range(count)]
    assert [place for part in parts for place in range(size)[part]] == list(range(size))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_a_process_by_itself_agrees_with_itself() -> None:
    alone, cpu = Ranks.here(), torch.device("cpu")
    assert alone == Ranks(0, 1)
    assert alone.part(7) == slice(0, 7)
    assert alone.told(0.1, cpu) == 0.1
    assert alone.any(True, cpu)
    assert not alone.any(False, cpu)
    network = torch.nn.Linear(1, 1)
    assert alone.wrap(network) is network


def test_several_devices_are_taken_together_or_not_at_all() -> None:
    gpus = ["cuda:0", "cuda:1", "cuda:2"]
    two = slots.acquire("two", gpus, 2)
    assert two is not None
    assert two.devices == ["cuda:0", "cuda:1"]
    waited: list[int] = []
    assert slots.acquire("three", gpus, 3, given_up=lambda: bool(waited), ahead=waited.append) is None
    last = slots.acquire("one", gpus)
    assert last is not None
    assert last.devices == ["cuda:2"], "which the one that wanted three didn't keep"
    two.release()
    last.release()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"processes": 2, "device": "cuda:1"}, "device must be auto or cpu"),
        ({"processes": 2, "unet.dropout": 0.1}, "dropout"),
    ],
)
def test_what_several_processes_cannot_share_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        configs.build("ddpm", settings=settings)


def shared(tiny: Build, **settings: Any) -> DdpmRun:
    """A training whose last batch of an epoch is one image: there one of two ranks has nothing."""
    return tiny(processes=2, device="cpu", data__train_images=33, ddpm__batch_size=16, ddpm__samples=0, **settings)


def losses(run: Run) -> list[float]:
    return [event.loss for event in run.events() if isinstance(event, EpochFinished)]


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(tiny: Build, runs: RunsFolder, until: Until) -> None:
    from core.ddpm.run import DdpmExperiment

    config = shared(tiny, ddpm__epochs=2, ddpm__network="tutorial", ddpm__ema=0.9, ddpm__clip=1.0)
    run = runs.create(config)
    launch.start(run, now=True)
    alone = DdpmExperiment.from_config(config, "cpu")
    expected = [item.loss for item in alone if isinstance(item, EpochFinished)]
    until(lambda: not run.look().state.live)
    assert run.look().state is State.finished
    assert losses(run) == pytest.approx(expected, rel=1e-5)
    weights = load_file(run.folder / BEST_FILE)
    for name, value in alone.training.averaged.state_dict().items():
        (stored,) = (w for key, w in weights.items() if key.endswith(name) and w.shape == value.shape)
        torch.testing.assert_close(stored, value, rtol=1e-3, atol=1e-5)


@pytest.mark.durability
@pytest.mark.parametrize("killed", ["first", "second", "worker"])
def test_when_one_dies_the_run_says_so_and_resumes_to_the_same_bits(
    tiny: Build, runs: RunsFolder, until: Until, killed: str
) -> None:
    config = shared(tiny, ddpm__epochs=8, checkpoint_seconds=0.0)
    whole = runs.create(config)
    launch.start(whole, now=True)
    until(lambda: not whole.look().state.live)
    run = runs.create(config)
    launch.start(run, now=True)
    until(lambda: any(isinstance(event, Step) and event.step > 3 for event in run.events()))
    os.kill(_process(run, killed), signal.SIGKILL)
    until(lambda: not run.look().state.live)
    state = run.look().state
    if killed == "worker":
        assert state in {State.crashed, State.stopped, State.failed}
    else:
        assert state is State.failed
        (failed,) = (event for event in run.events() if isinstance(event, RunFailed))
        assert (failed.error, failed.hint) == BEREFT
    until(lambda: not _members(run))
    launch.resume(run, now=True)
    until(lambda: run.look().state is State.finished)
    assert any(isinstance(event, RunResumed) for event in run.events())
    assert losses(run) == losses(whole)


@pytest.mark.durability
def test_a_stop_reaches_all_processes(tiny: Build, runs: RunsFolder, until: Until) -> None:
    run = runs.create(shared(tiny, ddpm__epochs=10_000))
    launch.start(run, now=True)
    until(lambda: any(isinstance(event, Step) for event in run.events()))
    assert launch.stop(run) is State.stopped
    until(lambda: not _members(run))


def _members(run: Run) -> dict[int, int]:
    """The processes that compute, by their rank."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "--member-of" in command and str(run.folder.resolve()) in command and "core.team" not in command:
            found[int(process.environ()["RANK"])] = process.pid
    return found


def _process(run: Run, which: str) -> int:
    if which == "worker":
        worker = life.read(run.folder)
        assert worker is not None
        return worker.identity.pid
    return _members(run)[0 if which == "first" else 1]
