"""The command line that a run was started by, and those that start the program's own processes."""

from __future__ import annotations

import os
import shlex
import sys

VARIABLE = "DIPDDPM_COMMAND"
"""The environment variable that hands the command line on to child processes."""


def command() -> str:
    """Return the command line that this process, or the first of its parents that is ours, was started by."""
    return os.environ.get(VARIABLE) or shlex.join(["dipddpm", *sys.argv[1:]])


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules in a process of its own.

    -P keeps the current folder off the import path: a `json.py` or `torch.py` that lies where a user works would else
    be imported in place of the real one. -u writes output at once, so that a log can be followed.
    """
    return [sys.executable, "-u", "-P", "-m", module, *arguments]
