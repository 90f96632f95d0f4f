"""environment.json: the versions, device, host, revision and command line of a run.

The commands that start the program's own processes are here too.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import socket
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import msgspec

COMMAND_VARIABLE = "DIPDDPM_COMMAND"
"""The environment variable that passes the command line to child processes."""
PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "msgspec")


class Environment(msgspec.Struct, kw_only=True):
    """The facts that may explain why two runs of one config differ; a fact missing from the file is empty."""

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
    """The git revision of the checkout, with `-dirty` if it has changes; empty for an installed wheel."""
    command: str = ""
    """The command line that started the run."""


def collect(device: str, device_name: str, threads: int) -> Environment:
    """Return the environment of this process."""
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
    """Return the command line that the user gave, to this process or to the program's process that led to it."""
    return os.environ.get(COMMAND_VARIABLE) or shlex.join(["dipddpm", *sys.argv[1:]])


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of this program's modules in a new process.

    -P keeps the current folder off the import path: otherwise a user's `json.py` or `torch.py` there would be imported
    in place of the real module. -u writes output without buffering, so that a log can be followed.
    """
    return [sys.executable, "-u", "-P", "-m", module, *arguments]


def torch_cache(run_folder: Path) -> dict[str, str]:
    """Return the variable that moves torch's cache to a run's folder if the temporary folders are full, else nothing.

    Python then uses the current folder for temporary files, and torch would leave a folder of its own there.
    """
    with contextlib.suppress(FileNotFoundError):  # the current folder may have been deleted
        if "TORCHINDUCTOR_CACHE_DIR" not in os.environ and tempfile.gettempdir() == str(Path.cwd()):
            return {"TORCHINDUCTOR_CACHE_DIR": str(run_folder.resolve() / "torchinductor")}
    return {}


def program_version() -> str:
    """Return this program's version; `unversioned` for a copy of its files that was never installed."""
    return _version("dipddpm") or "unversioned"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _revision(folder: Path) -> str:
    if not (folder / ".git").exists():
        # An installed wheel may lie inside another project's repository, whose revision would be wrong.
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
