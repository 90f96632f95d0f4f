"""Tests of the examples in docs/extending.md: they are added to a copy of the program, tested and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "docs" / "extending.md"
COMMAND = "from dipddpm.tui.cli.main import main; main()"
BLOCK = re.compile(r"<!-- (?P<what>.+?) -->\n```\w+\n(?P<text>.*?)```\n", re.DOTALL)
CHANGE = re.compile(r"^-(?P<old>.*)\n(?P<new>(?:\+.*\n)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the program, with every example of the page added."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("dipddpm", "core", "tui", "tests"):
        unwanted = shutil.ignore_patterns("__pycache__", "reference-runs")
        shutil.copytree(CHECKOUT / name, folder / name, symlinks=True, ignore=unwanted)
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    for what, text in BLOCK.findall(PAGE.read_text()):
        action, _, rest = what.partition(" file " if what.startswith("new file ") else " ")
        name, _, before = rest.removeprefix("to ").removeprefix("in ").partition(", before ")
        path = folder / name
        if action == "new":
            path.write_text(text)
        elif action == "add":
            separator = "\n\n" if not text.startswith(" ") else "\n"
            replace_once(path, f"\n{before}", f"\n{text}{separator}{before}")
        else:
            for old, new in CHANGE.findall(text):
                replace_once(path, old, new.removeprefix("+").replace("\n+", "\n").removesuffix("\n"))
    run(folder, "-m", "ruff", "format", *files("add to", "change in"))
    return folder


def replace_once(path: Path, old: str, new: str) -> None:
    """Replace a text that must occur exactly once in a file."""
    content = path.read_text()
    assert content.count(old) == 1, f"{old!r} occurs {content.count(old)} times in {path}"
    path.write_text(content.replace(old, new))


def files(*actions: str) -> list[str]:
    """Return the files that the page treats in one of these ways: `new file`, `add to`, `change in`."""
    return sorted(set(re.findall(rf"<!-- (?:{'|'.join(actions)}) (\S+\.py)", PAGE.read_text())))


def run(folder: Path, *command: str | Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_extending_examples_pass_their_tests_and_lint(copy: Path) -> None:
    new = files("new file")
    assert "4 passed" in run(copy, "-m", "pytest", *(name for name in new if name.startswith("tests/")))
    run(copy, "-m", "ruff", "format", "--check", *new)
    run(copy, "-m", "ruff", "check", *new, *files("add to", "change in"))


@pytest.mark.slow
def test_extending_example_method_is_offered_by_command(copy: Path) -> None:
    options = ("--method", "anchored", "--set", "hybrid.weight=0.25", "--dry-run")
    printed = run(copy, "-c", COMMAND, "run", "hybrid", *options)
    assert 'method = "anchored"' in printed
    assert "weight = 0.25" in printed


@pytest.mark.slow
def test_extending_example_data_set_is_offered_by_command(copy: Path) -> None:
    printed = run(copy, "-c", COMMAND, "restore", "--set-of-images", "bars", "--method", "anchored", "--dry-run")
    assert 'sets = [\n    "bars",\n]' in printed
