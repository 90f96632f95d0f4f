"""Fixtures for all tests: their own folders, one CPU thread, and no process that outlives its test."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers import PATIENCE_SECONDS

if TYPE_CHECKING:
    from dipddpm.core.config import DdpmRun
    from dipddpm.core.runs import Run, RunsFolder

# Two tests may share a core. Set here and not in a fixture, so that torch reads it on import and workers inherit it.
os.environ["OMP_NUM_THREADS"] = "1"

# In CI every run uses the same examples, so that changes are comparable; elsewhere each run draws new ones.
# A busy machine may take long to draw examples, which Hypothesis would report as an error.
settings.register_profile(
    "dipddpm",
    deadline=None,
    max_examples=60,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("dipddpm")

PROCESSES = (
    "benchmarks",
    "core/compute/test_distributed.py",
    "core/doctor",
    "core/launch",
    "durability",
    "test_api.py",
    "test_ci.py",
    "test_extending.py",
    "test_imports.py",
    "test_package_names.py",
    "test_wheel.py",
    "tui/cli",
    "tui/console/panes",
    "tui/console/screens",
    "tui/console/test_",
    "tui/test_",
)
"""Paths of tests that start workers, programs or terminals."""
SLOW = (
    "core/bench",
    "core/compute/test_compile.py",
    "core/compute/test_host_syncs.py",
    "core/ddpm",
    "core/dip",
    "core/experiments",
    "core/methods",
    "core/metrics/samples",
    "core/metrics/test_evaluator.py",
    "core/export/test_wandb.py",
    "core/study",
    "scripts",
    "tui/console/model/test_store.py",
)
"""Paths of tests that fit or train networks, or try a great many inputs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder, so that `just test-fast` can leave out the slow ones."""
    root = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(root).as_posix()
        if path.startswith(PROCESSES) or "finished" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.process)
        elif path.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def small_numbers() -> Iterator[None]:
    """Turn off the flushing of denormal numbers that a worker run in this process has turned on."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own folders, so that it never touches the runs, slots and data of the user.

    The reference runs are hidden too; the fixture `shipped` adds one.
    """
    monkeypatch.setattr("dipddpm.core.runs.reference.FOLDER", tmp_path / "reference-runs")
    monkeypatch.setenv("DIPDDPM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DIPDDPM_SLOTS_DIR", str(tmp_path / "slots"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("DIPDDPM_DATA", "DIPDDPM_SLOTS", "DIPDDPM_COMMAND", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def runs(own_folders: None) -> Iterator[RunsFolder]:
    """Return the default runs folder of this test, and kill its workers afterwards."""
    from dipddpm.core.launch import local
    from dipddpm.core.runs import RunsFolder

    folder = RunsFolder(local.runs_root(None))
    yield folder
    end_workers(folder)


def end_workers(runs: RunsFolder) -> None:
    """Kill the workers of a runs folder, each only if it is still the process that worker.json names, and not this."""
    from dipddpm.core.launch import local
    from dipddpm.core.runs import heartbeat

    for run in runs.runs():
        worker = heartbeat.read(run.folder)
        if worker is not None and worker.identity.pid != os.getpid():
            local.send_signal(run, signal.SIGKILL)
    for child in local._children:
        child.wait(timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., DdpmRun]:
    """Return a function that builds the config of a real training on shipped images that takes seconds."""

    def build(**settings: Any) -> DdpmRun:
        from dipddpm.core import config as configs

        defaults = {"data.dataset": "fashion-mini", "data.train_images": 256, "ddpm.epochs": 4, "ddpm.samples": 0}
        dotted = {key.replace("__", "."): value for key, value in settings.items()}
        return cast("DdpmRun", configs.build("ddpm", settings={**defaults, "device": "cpu", "threads": 1, **dotted}))

    return build


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Return a function that waits until a condition is true, and returns the condition's value."""

    def wait(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"the condition was not true within {seconds:g} s"
            time.sleep(0.02)
        return value

    return wait


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., DdpmRun], until: Callable[..., Any]) -> Run:
    """Return a finished, uninterrupted run for comparison. All pytest processes share it; no test may change it."""
    from dipddpm.core.launch import local
    from dipddpm.core.runs import RunsFolder

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        patch.setenv("DIPDDPM_SLOTS_DIR", str(shared / "slots"))
        runs = RunsFolder(shared / "runs")
        if made := runs.runs():
            return made[0]
        run = runs.create(tiny(name="finished"))
        local.start(run)
        try:
            until(lambda: not run.status().state.live)
        finally:
            end_workers(runs)
    return run


@pytest.fixture
def shipped(finished: Run, own_folders: None, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Make a finished run the reference prior, and return it."""
    from dipddpm.core.runs import Run, reference

    shutil.copytree(finished.folder, reference.FOLDER / finished.id)
    monkeypatch.setattr(reference, "PRIOR", finished.id)
    monkeypatch.setitem(reference.RUNS, reference.NAME, finished.id)
    return Run(reference.FOLDER / finished.id)
