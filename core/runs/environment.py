"""environment.json: the versions, device, host, revision and command line that a run was made with.

Also the commands that start the program's own processes.
"""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import msgspec

COMMAND_VARIABLE = "DIPDDPM_COMMAND"
"""The environment variable that hands the command line on to child processes."""
PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "msgspec")


class Environment(msgspec.Struct, kw_only=True):
    """Enough to tell why two runs of the same config differ; what a file of another version lacks is empty."""

    dipddpm: str = ""
    python: str = ""
    system: str = ""
    packages: dict[str, str] = {}
    host: str = ""
    cores: int = 0
    device: str = ""
    device_name: str = ""
    threads: int = 0
    git: str = ""
    """Revision of the checkout that the program runs from, with `-dirty` for changes; empty for an installed wheel."""
    command: str = ""
    """What was typed to start the run."""


def collect(device: str, device_name: str, threads: int) -> Environment:
    """The environment of this process."""
    return Environment(
        dipddpm=_version("dipddpm"),
        python=platform.python_version(),
        system=platform.platform(),
        packages={name: _version(name) for name in PACKAGES},
        host=socket.gethostname(),
        cores=os.cpu_count() or 1,
        device=device,
        device_name=device_name,
        threads=threads,
        git=_revision(Path(__file__).parents[2]),
        command=command_line(),
    )


def command_line() -> str:
    """Return the command line that this process, or the first of its parents that is ours, was started by."""
    return os.environ.get(COMMAND_VARIABLE) or shlex.join(["dipddpm", *sys.argv[1:]])


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules in a process of its own.

    -P keeps the current folder off the import path: a `json.py` or `torch.py` that lies where a user works would else
    be imported in place of the real one. -u writes output at once, so that a log can be followed.
    """
    return [sys.executable, "-u", "-P", "-m", module, *arguments]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _revision(folder: Path) -> str:
    if not (folder / ".git").exists():
        # An installed wheel may lie in somebody else's repository, whose revision says nothing of ours.
        return ""
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()
