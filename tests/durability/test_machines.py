"""Unusual machines, each made by the kernel: a user without a name, and a project with its own `core` and `tui`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DIPDDPM = [sys.executable, "-P", "-c", "from dipddpm.tui.cli.main import main; main()"]
CONSOLE = [sys.executable, "-P", "-m", "dipddpm.tui.console", "--once"]
ROOT = Path(__file__).parents[2]
SMALL = ["run", "dip", "--iterations", "2", "--dataset", "fashion-mini", "--images", "0-0", "--now"]


def allowed(*command: str) -> bool:
    """Return whether this machine allows a command such as `unshare`."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


def succeed(command: list[str], folder: Path, **environment: str) -> str:
    """Run a command in a folder with exactly this environment; return its output, both streams together."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


@pytest.mark.durability
def test_program_works_without_home_and_user_name(tmp_path: Path) -> None:
    stranger = ["unshare", "--map-user=12345", "--map-group=12345"]
    if not allowed(*stranger):
        pytest.skip("this machine allows no user namespaces")
    slots = str(tmp_path / "slots")
    for command in ([*DIPDDPM, "ls"], [*DIPDDPM, "data"], [*DIPDDPM, *SMALL], CONSOLE):
        shown = succeed([*stranger, *command], tmp_path, PYTHONPATH=str(ROOT), DIPDDPM_SLOTS_DIR=slots)
    assert "finished" in shown  # in the console


@pytest.mark.durability
@pytest.mark.parametrize("more", [[], ["--gpus", "2", "--images", "0-1", "--device", "cpu"]], ids=["one", "two"])
def test_program_ignores_core_and_tui_of_others(more: list[str], tmp_path: Path) -> None:
    """Put one's own packages on the import path and into the current folder, also for the worker and torchrun."""
    project = tmp_path / "project"
    for name in ("core", "core/launch", "tui"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text("raise SystemExit('foreign package')")
    here = tmp_path / "here"  # not on the import path
    here.mkdir()
    for name in ("core", "tui", "dipddpm", "json", "torch"):
        (here / f"{name}.py").write_text("raise SystemExit('foreign module')")
    environment = {"PYTHONPATH": f"{project}:{ROOT}", "HOME": str(tmp_path), "DIPDDPM_SLOTS_DIR": str(tmp_path / "s")}
    assert "Finished" in succeed([*DIPDDPM, *SMALL, *more], here, **environment)
    if not more:
        assert "finished" in succeed([*DIPDDPM, "ls"], here, **environment)
        assert "finished" in succeed(CONSOLE, here, **environment)
