"""What loads what: the console and `ls` start at once because torch stays out, and core knows nothing of terminals."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import core

TERMINAL = {"textual", "rich", "plotext", "typer"}
LIGHT = [
    "core.config",
    "core.events",
    "core.runs",
    "core.launch",
    "core.slots",
    "core.preflight",
    "core.registry",
    "core.devices",
    "core.data",
    "core.doctor",
    "core.worker",
    "core.text",
]


def loaded(code: str, *arguments: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after this code."""
    tell = "import sys, atexit; atexit.register(lambda: print('LOADED', *{m.partition('.')[0] for m in sys.modules}))\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", tell + code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("module", LIGHT)
def test_it_loads_no_torch(module: str) -> None:
    assert not loaded(f"import {module}") & {"torch", "torchvision", "numpy"}


@pytest.mark.parametrize("command", ["--help", "ls", "data"])
def test_the_command_line_starts_without_torch(command: str) -> None:
    assert not loaded("from tui.cli import main; main()", command) & {"torch", "torchvision", "textual", "plotext"}


def test_a_run_is_asked_for_without_torch() -> None:
    code = "from tui.cli import main; main()"
    arguments = ["run", "ddpm", "--preset", "quick", "--device", "cpu", "--epochs", "1", "--detach", "--now"]
    assert "torch" not in loaded(f"{code}", *arguments, "--dry-run")


def test_no_module_of_core_knows_of_terminals() -> None:
    modules = [module.name for module in pkgutil.walk_packages(core.__path__, "core.")]
    assert "core.worker" in modules
    assert "core.runs.log" in modules
    # One interpreter for all: whichever of them loads a terminal library, it shows.
    assert not loaded("\n".join(f"import {name}" for name in modules)) & TERMINAL
