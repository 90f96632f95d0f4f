"""What CONTRIBUTING.md tells to do, done: the example method is put into a copy of the program and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
COMMAND = "from dipddpm.tui.cli.main import main; main()"
ASKED = ("--method", "anchored", "--set", "hybrid.weight=0.25", "--dry-run")
NEW = ("core/methods/anchored.py", "tests/core/methods/test_anchored.py")
BLOCK = re.compile(r"<!-- (?P<what>.+?) -->\n```\w+\n(?P<text>.*?)```\n", re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The program with the example in it, as its page tells."""
    for name in ("dipddpm", "core", "tui", "tests"):
        unwanted = shutil.ignore_patterns("__pycache__", "reference-runs")
        shutil.copytree(CHECKOUT / name, tmp_path / name, symlinks=True, ignore=unwanted)
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    for what, text in BLOCK.findall((CHECKOUT / "CONTRIBUTING.md").read_text()):
        place, _, before = what.removeprefix("new file ").removeprefix("add to ").partition(", before ")
        path = tmp_path / place.removeprefix("change in ")
        if what.startswith("new file "):
            path.write_text(text)
        elif before:
            _put(path, f"\n{before}", f"\n{text}\n\n{before}")
        else:
            for old, new in re.findall(r"^-(.*)\n((?:\+.*\n)+)", text, re.MULTILINE):
                _put(path, old, new.removeprefix("+").replace("\n+", "\n").removesuffix("\n"))
    return tmp_path


def _put(path: Path, old: str, new: str) -> None:
    content = path.read_text()
    assert content.count(old) == 1, f"{old!r} stands {content.count(old)} times in {path}"
    path.write_text(content.replace(old, new))


def run(folder: Path, *command: str | Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_contributing_example_passes_tests_and_runs_as_method(copy: Path) -> None:
    assert "2 passed" in run(copy, "-m", "pytest", "tests/core/methods/test_anchored.py")
    asked = run(copy, "-c", COMMAND, "run", "hybrid", *ASKED)
    assert 'method = "anchored"' in asked
    assert "weight = 0.25" in asked
    run(copy, "-m", "ruff", "format", "core/config/hybrid.py")
    run(copy, "-m", "ruff", "format", "--check", *NEW)
    run(copy, "-m", "ruff", "check", "core/config/hybrid.py", *NEW)
