"""Test that the package imports its modules only as `dipddpm...`, so that a user's `core` or `tui` can't interfere."""

from __future__ import annotations

import json
import subprocess
import sys

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
