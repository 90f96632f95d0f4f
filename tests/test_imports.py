"""Tests of import costs: `ls` and the console start without torch, and core imports no terminal library."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import dipddpm
import dipddpm.core

TERMINAL = {"textual", "rich", "plotext", "typer"}
LIGHT = [
    "dipddpm.core.config",
    "dipddpm.core.events",
    "dipddpm.core.runs",
    "dipddpm.core.launch.local",
    "dipddpm.core.launch.queue",
    "dipddpm.core.launch.preflight",
    "dipddpm.core.registry",
    "dipddpm.core.compute.devices",
    "dipddpm.core.data",
    "dipddpm.core.doctor",
    "dipddpm.core.launch.worker",
    "dipddpm.core.io.sanitize",
]


def loaded(code: str, *arguments: str) -> set[str]:
    """Return the top-level packages that a new interpreter has loaded after this code."""
    report = (
        "import sys, atexit; atexit.register(lambda: print('LOADED', *{m.partition('.')[0] for m in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", report + code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_no_torch(module: str) -> None:
    assert not loaded(f"import {module}") & {"torch", "torchvision", "numpy"}


@pytest.mark.parametrize("command", ["--help", "ls", "data"])
def test_command_line_starts_without_torch(command: str) -> None:
    assert not loaded("from dipddpm.tui.cli.main import main; main()", command) & {
        "torch",
        "torchvision",
        "textual",
        "plotext",
    }


def test_run_dry_run_loads_no_torch() -> None:
    code = "from dipddpm.tui.cli.main import main; main()"
    arguments = ["run", "ddpm", "--preset", "quick", "--device", "cpu", "--epochs", "1", "--detach", "--now"]
    assert "torch" not in loaded(f"{code}", *arguments, "--dry-run")


def test_core_modules_load_no_terminal_library() -> None:
    modules = [module.name for module in pkgutil.walk_packages(dipddpm.core.__path__, "dipddpm.core.")]
    assert "dipddpm.core.launch.worker" in modules
    assert "dipddpm.core.runs.log" in modules
    # One interpreter imports all modules, so that any module that loads a terminal library fails the test.
    assert not loaded("\n".join(f"import {name}" for name in modules)) & TERMINAL


def test_import_of_package_loads_nothing_heavy() -> None:
    assert not loaded("import dipddpm; dir(dipddpm)") & {"torch", "numpy", "msgspec", "textual"}


def test_foreign_core_and_tui_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core/__init__.py").write_text("raise SystemExit('a foreign core was imported')")
    (tmp_path / "tui.py").write_text("raise SystemExit('a foreign tui was imported')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    start = "from dipddpm.tui.cli.main import main; main()"
    arguments = ["run", "ddpm", "--preset", "quick", "--device", "cpu", "--epochs", "1", "--set", "ddpm.samples=0"]
    for command in (["--help"], [*arguments, "--runs-dir", "runs"]):
        done = subprocess.run(
            [sys.executable, "-c", start, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "runs").glob("*-ddpm-*/checkpoints/best.safetensors"))) == 1
