"""Tests of the worker inside the test's own process, where a test can replace its parts."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from dipddpm.core import config as configs
from dipddpm.core import events, registry
from dipddpm.core.events import CheckpointStored, EpochFinished, RunFailed
from dipddpm.core.launch import worker
from dipddpm.core.launch.recorder import Recorder
from dipddpm.core.launch.worker import Heartbeat
from dipddpm.core.runs import BEST_FILE, RunsFolder, RunState
from dipddpm.core.runs.extend import extend
from tests.helpers import recorded, work

checkpoint = Recorder.checkpoint
SMALL = {
    "data.dataset": "fashion-mini",
    "data.train_images": 32,
    "ddpm.batch_size": 16,
    "ddpm.timesteps": 20,
    "ddpm.network": "unet",
    "unet.channels": "8,8",
    "ddpm.epochs": 2,
    "ddpm.samples": 2,
    "device": "cpu",
    "checkpoint_seconds": 1e9,
}


def test_worker_reports_full_gpu_and_option_to_lower(runs: RunsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    class OutOfMemoryExperiment:
        @classmethod
        def from_config(cls, *_: object) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 79 GiB.")

    monkeypatch.setattr(registry, "resolve", lambda path: OutOfMemoryExperiment)
    run = runs.create(configs.build("ddpm", settings=SMALL))
    assert work(run) == 1
    (failed,) = recorded(run, RunFailed)
    assert (failed.error, failed.hint) == ("The device ran out of memory.", "Lower ddpm.batch_size from 16 to 8.")
    assert run.status().hint == failed.hint


def test_worker_checkpoints_at_epoch_interval(runs: RunsFolder) -> None:
    settings = {**SMALL, "ddpm.epochs": 5, "ddpm.samples": 0}
    seldom, often = (
        runs.create(configs.build("ddpm", settings={**settings, "checkpoint_epochs": epochs})) for epochs in (0, 2)
    )
    assert [work(run) for run in (seldom, often)] == [0, 0]
    assert [event.epoch for event in recorded(seldom, CheckpointStored)][-1] == 5
    stored = [event.epoch for event in recorded(often, CheckpointStored)]
    assert max(later - earlier for earlier, later in itertools.pairwise(stored)) <= 2


def test_worker_stores_each_epoch_before_it_logs_it(runs: RunsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With checkpoints that cost nothing, each epoch's lines are followed by its checkpoint."""
    monkeypatch.setattr(Recorder, "checkpoint", lambda *given, **options: 0.0 * checkpoint(*given, **options))
    run = runs.create(configs.build("ddpm", settings={**SMALL, "ddpm.epochs": 4, "checkpoint_seconds": 60}))
    assert work(run) == 0
    stored = [event.epoch for event in recorded(run, CheckpointStored)]
    assert set(stored) == {0, 1, 2, 3, 4}
    kept = [event for event in run.events() if isinstance(event, EpochFinished | CheckpointStored)]
    for event, following in itertools.pairwise(kept):
        if isinstance(event, EpochFinished):
            assert (type(following), following.epoch) == (CheckpointStored, event.epoch)


def test_worker_logs_epoch_although_what_follows_fails(runs: RunsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no preview")

    monkeypatch.setattr("dipddpm.core.experiments.ddpm.DdpmExperiment._preview", fail)
    run = runs.create(configs.build("ddpm", settings={**SMALL, "ddpm.sample_every": 1}))
    assert work(run) == 1
    assert [event.epoch for event in recorded(run, EpochFinished)] == [1]
    assert (run.folder / BEST_FILE).is_file()


def test_extended_run_ends_like_run_planned_for_as_long(runs: RunsFolder) -> None:
    """Compare samples too, which are drawn again at the new end, even after a kill before the first checkpoint."""
    short, long = (runs.create(configs.build("ddpm", settings={**SMALL, "ddpm.epochs": n})) for n in (2, 4))
    assert [work(run) for run in (short, long)] == [0, 0]
    longer = extend(runs, short, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker._RunWorker, "_log_failure", lambda *_: None)
        patch.setattr("dipddpm.core.launch.recorder.Recorder._store_pictures", _die)
        assert work(longer, "--resume") == 1
    assert len([e for e in longer.events() if isinstance(e, EpochFinished)]) == 4
    assert work(longer, "--resume") == 0
    assert longer.status().state is RunState.finished
    extended_epochs, long_epochs = (
        [(e.epoch, e.step, e.loss) for e in run.events() if isinstance(e, EpochFinished)] for run in (longer, long)
    )
    assert extended_epochs == long_epochs
    steps = [event.step for event in longer.events() if isinstance(event, events.Step)]
    assert steps == sorted(set(steps))
    for name in ("images/samples.png", "checkpoints/best.safetensors"):
        assert (longer.folder / name).read_bytes() == (long.folder / name).read_bytes()


def _die(*_: object) -> None:
    raise RuntimeError("killed")


def test_heartbeat_stops_on_sigint_and_sigterm_not_sighup(tmp_path: Path) -> None:
    with Heartbeat(tmp_path) as heartbeat:
        signal.raise_signal(signal.SIGHUP)
        assert heartbeat.stop_reason == ""
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert heartbeat.stop_reason == "SIGINT", "the first signal must be the reason"
