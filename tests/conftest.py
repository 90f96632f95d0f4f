"""What every test gets: folders of its own, one CPU thread, and processes that don't outlive it."""

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
from hypothesis import settings

if TYPE_CHECKING:
    from dipddpm.core.config import DdpmRun
    from dipddpm.core.runs import Run, RunsFolder

# Here rather than in a fixture, so that torch sees it on import and workers inherit it: two tests may share a core.
os.environ["OMP_NUM_THREADS"] = "1"

# A change is judged by the same examples as the one before; at a desk every run looks for new ones.
settings.register_profile("dipddpm", deadline=None, max_examples=60, derandomize=bool(os.environ.get("CI")))
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
"""Where tests start workers, programs or terminals."""
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
"""Where tests fit or train networks, or try a great many inputs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder, so that `just test-fast` can leave out what takes long."""
    root = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(root).as_posix()
        if place.startswith(PROCESSES) or "finished" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.process)
        elif place.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def small_numbers() -> Iterator[None]:
    """A worker that was carried out in this process has told it to take the smallest numbers for zero."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a test starts reads or writes the runs, slots or data of the person who runs it.

    Nor does it see the runs that ship, unless it is about these.
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
    """The runs folder of this test, as the command line finds it; what still runs in it at the end is ended."""
    from dipddpm.core.launch import local
    from dipddpm.core.runs import RunsFolder

    folder = RunsFolder(local.runs_root(None))
    yield folder
    end_workers(folder)


def end_workers(runs: RunsFolder) -> None:
    """Kill the workers of a runs folder, each only if it still is the very process that its run names."""
    from dipddpm.core.launch import local

    for run in runs.runs():
        local.send_signal(run, signal.SIGKILL)
    for child in local._children:
        child.wait(timeout=30)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., DdpmRun]:
    """A real training in miniature: seconds, on images that ship with the program."""

    def build(**settings: Any) -> DdpmRun:
        from dipddpm.core import config as configs

        defaults = {"data.dataset": "fashion-mini", "data.train_images": 256, "ddpm.epochs": 4, "ddpm.samples": 0}
        dotted = {key.replace("__", "."): value for key, value in settings.items()}
        return cast("DdpmRun", configs.build("ddpm", settings={**defaults, "device": "cpu", "threads": 1, **dotted}))

    return build


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Wait until something holds; what it gave."""

    def wait(holds: Callable[[], Any], seconds: float = 120.0) -> Any:
        end = time.monotonic() + seconds
        while not (given := holds()):
            assert time.monotonic() < end, f"not within {seconds:g} s"
            time.sleep(0.02)
        return given

    return wait


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., DdpmRun], until: Callable[..., Any]) -> Run:
    """A run that nothing disturbed, to compare the others with. Not to be changed; all processes of pytest share it."""
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
    """A finished run that ships with the program, as its prior."""
    from dipddpm.core.runs import Run, reference

    shutil.copytree(finished.folder, reference.FOLDER / finished.id)
    monkeypatch.setattr(reference, "PRIOR", finished.id)
    return Run(reference.FOLDER / finished.id)
