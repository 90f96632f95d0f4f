"""What every test gets: folders of its own, one CPU thread, and processes that don't outlive it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Here rather than in a fixture, so that torch sees it on import and workers inherit it: two tests may share a core.
os.environ["OMP_NUM_THREADS"] = "1"

settings.register_profile("dipddpm", deadline=None, max_examples=60)
settings.load_profile("dipddpm")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a test starts reads or writes the runs, slots or data of the person who runs it."""
    monkeypatch.setenv("DIPDDPM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DIPDDPM_SLOTS_DIR", str(tmp_path / "slots"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("DIPDDPM_DATA", "DIPDDPM_SLOTS", "DIPDDPM_COMMAND", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def runs_root() -> Iterator[Path]:
    """The runs folder of this test; what still runs in it at the end is ended."""
    from core import launch
    from core.runs import RunsFolder

    root = launch.runs_root(None)
    yield root
    end_workers(RunsFolder(root))


def end_workers(runs: object) -> None:
    """Kill the workers of a runs folder, each only if it still is the very process that its run names."""
    import signal

    from core import launch
    from core.runs import RunsFolder

    assert isinstance(runs, RunsFolder)
    for run in runs.runs():
        launch.send_signal(run, signal.SIGKILL)
