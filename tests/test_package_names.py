"""Test that the package imports its modules only as `dipddpm...`, so that a user's `core` or `tui` can't interfere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import dipddpm
names = [m.name for m in pkgutil.walk_packages(dipddpm.__path__, "dipddpm.")]
for name in names:
    if not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as e:
            if (e.name or "").split(".")[0] in ("dipddpm", "core", "tui"):
                raise
print(json.dumps([len(names), sorted(m for m in sys.modules if m.split(".")[0] in ("core", "tui"))]))
"""


def test_importing_every_module_loads_no_top_level_core_or_tui() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True)
    count, foreign = json.loads(done.stdout.splitlines()[-1])
    assert count > 100
    assert foreign == []


def test_program_ignores_core_and_tui_of_others(tmp_path: Path) -> None:
    """Put one's own packages on the import path before the program's checkout, and others into the current folder."""
    project, here = tmp_path / "project", tmp_path / "here"
    for name in ("core", "tui"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text("raise SystemExit('foreign package')")
    here.mkdir()
    for name in ("core", "tui", "dipddpm", "json", "msgspec"):
        (here / f"{name}.py").write_text("raise SystemExit('foreign module')")
    environment = os.environ | {"PYTHONPATH": f"{project}:{Path(__file__).parents[1]}"}
    for code in ("from dipddpm.tui.cli.main import main; main(['ls'])", "import dipddpm.tui.console.__main__"):
        subprocess.run([sys.executable, "-P", "-c", code], cwd=here, env=environment, capture_output=True, check=True)
