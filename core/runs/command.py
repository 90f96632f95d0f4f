"""What was typed to start a run, as it is passed on to the processes that come of it."""

from __future__ import annotations

import os
import shlex
import sys

VARIABLE = "DIPDDPM_COMMAND"
"""Of the environment."""


def command() -> str:
    """The command line that this process, or the one that everything began with, was started by."""
    return os.environ.get(VARIABLE) or shlex.join(["dipddpm", *sys.argv[1:]])
