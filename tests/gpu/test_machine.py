"""Runs on the device resume after a kill, wait for each other and explain a full memory; NVML reports the truth."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dipddpm.core import config as configs
from dipddpm.core.events import CheckpointStored, EpochFinished, RunFailed, RunResumed, RunStarted
from dipddpm.core.launch import local, worker
from dipddpm.core.runs import Run, RunsFolder, RunState
from dipddpm.tui.console.model.host import HostSampler
from tests.helpers import Build, Until, recorded

CHECKOUT = Path(__file__).parents[2]
DEVICES = """
from dipddpm.core.compute import devices
from dipddpm.core.errors import UserError
try:
    names = devices.candidates("cuda")
except UserError as error:
    print(error.problem)
else:
    import torch
    print(names[0], float(torch.ones(2, device=devices.resolve(names[0])).sum()))
print(*devices.candidates("auto"))
"""


def ended(run: Run) -> bool:
    return not run.status().state.live


def epochs(run: Run) -> list[tuple[int, int, float]]:
    return [(event.epoch, event.step, event.loss) for event in run.events() if isinstance(event, EpochFinished)]


def test_run_resumes_exactly_after_kill(device: torch.device, runs: RunsFolder, tiny: Build, until: Until) -> None:
    # Enough epochs that the kill comes in time: on a GPU one takes milliseconds.
    gpu = device.type == "cuda"
    settings = {"device": device.type, "ddpm__epochs": 100 if gpu else 6, "ddpm__ema": 0.9, "checkpoint_epochs": 2}
    whole, killed = runs.create(tiny(**settings)), runs.create(tiny(**settings))
    local.start(killed, now=True)
    local.start(whole, now=True)
    until(lambda: recorded(killed, CheckpointStored))
    assert local.send_signal(killed, signal.SIGKILL)
    until(lambda: killed.status().state is RunState.crashed)
    local.resume(killed, now=True)
    until(lambda: recorded(killed, RunResumed))
    until(lambda: ended(killed) and ended(whole))
    (resumed,) = recorded(killed, RunResumed)
    first, second = epochs(whole), epochs(killed)
    assert [row[:2] for row in first] == [row[:2] for row in second]
    assert len(first) == settings["ddpm__epochs"]
    # A GPU adds in any order, so that even two runs that were never stopped differ in their last digits, then in more.
    near = [row[1] <= resumed.from_step + 8 for row in first] if gpu else [True] * len(first)
    assert sum(near) > resumed.from_step / 2
    pairs = [(a[2], b[2]) for a, b, compared in zip(first, second, near, strict=True) if compared]
    assert [b for _, b in pairs] == pytest.approx([a for a, _ in pairs], rel=5e-3 if gpu else 0.0, abs=0)


def test_second_run_waits_for_device_of_first(
    device: torch.device, runs: RunsFolder, tiny: Build, until: Until
) -> None:
    name = f"{device.type}:0" if device.type == "cuda" else "cpu"
    first = runs.create(tiny(device=name, ddpm__epochs=100_000))
    second = runs.create(tiny(device=name, ddpm__epochs=1, data__train_images=64))
    local.start(first)
    until(lambda: recorded(first, EpochFinished))
    local.start(second)
    until(lambda: second.status().summary.phase is RunState.queued and (second.folder / "worker.json").is_file())
    before = len(recorded(first, EpochFinished))
    until(lambda: len(recorded(first, EpochFinished)) > before + 2)
    assert second.status().state is RunState.queued
    local.stop(first)
    until(lambda: ended(second))
    assert second.status().state is RunState.finished
    began = next(event.time for event in second.events() if isinstance(event, RunStarted))
    assert began >= max(event.time for event in first.events())


@pytest.fixture
def little_memory(cuda: torch.device) -> Iterator[None]:
    """Give this process 300 MB of the GPU's memory beyond what it holds."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(cuda) + 300e6) / total)
    handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for kind, handler in handlers.items():
        signal.signal(kind, handler)
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_full_memory_is_one_sentence_and_what_to_lower(little_memory: None, tmp_path: Path) -> None:
    settings = {"data.dataset": "fashion-mini", "ddpm.network": "unet", "unet.channels": "64,128", "unet.patch": 1}
    settings |= {"ddpm.batch_size": 1024, "ddpm.samples": 0, "device": "cuda"}
    run = RunsFolder(tmp_path / "inside").create(configs.build("ddpm", settings=settings))
    assert worker.main([str(run.folder), "--now"]) == 1
    (failed,) = recorded(run, RunFailed)
    assert failed.error == "The device ran out of memory."
    assert failed.hint == "Lower ddpm.batch_size from 1024 to 512."


def test_nvml_line_agrees_with_nvidia_smi() -> None:
    sampled = HostSampler().sample().gpus
    program = shutil.which("nvidia-smi")
    if program is None:
        assert sampled == (), "NVML shows a GPU, and there is no nvidia-smi to compare it with"
        return
    query = [program, "--query-gpu=name,memory.total,memory.used", "--format=csv,noheader,nounits"]
    lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(sampled) == len(lines)
    for gpu, line in zip(sampled, lines, strict=True):
        name, total, used = line.split(", ")
        assert set(gpu.name.split()) <= set(name.replace("-", " ").split())
        assert gpu.total_gb == pytest.approx(float(total) * 2**20 / 1e9, rel=0.02)
        assert gpu.used_gb == pytest.approx(float(used) * 2**20 / 1e9, abs=0.02 * gpu.total_gb)
        assert gpu.use is None or 0 <= gpu.use <= 100
        assert gpu.temperature is None or 0 < gpu.temperature < 120


@pytest.mark.parametrize("visible", ["", "-1", "0"])
def test_device_honours_cuda_visible_devices(visible: str, device: torch.device) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": visible, "PYTHONPATH": str(CHECKOUT)}
    if extra := os.environ.get("PYTHONPATH"):
        environment["PYTHONPATH"] += os.pathsep + extra
    command = [sys.executable, "-P", "-c", DEVICES]
    first, automatic = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    if device.type == "cuda" and visible == "0":
        assert (first, automatic) == ("cuda:0 2.0", "cuda:0")
    else:
        assert first.startswith("There is no device cuda")
        assert automatic == "cpu"
