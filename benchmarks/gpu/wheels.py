"""The packages that a machine without network lacks: downloaded as wheels, and installed there into a folder.

Needs the standard library alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGES = (
    *("msgspec", "tomli-w", "textual", "plotext", "pytest-asyncio"),
    # What they need, and what must not be older than the program asks for.
    *("rich", "pygments", "markdown-it-py", "mdurl", "mdit-py-plugins", "linkify-it-py", "platformdirs"),
    *("typer", "shellingham", "annotated-doc", "pydantic", "pydantic-core", "annotated-types", "typing-inspection"),
    *("typing-extensions", "psutil"),
)
PYTHON = "3.12"
PLATFORMS = ("manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 17, 12, 5)))
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def download(folder: Path, python: str = PYTHON) -> None:
    """Download the wheels for another machine, in the versions of constraints.txt. Raises CalledProcessError."""
    platforms = [argument for platform in PLATFORMS for argument in ("--platform", platform)]
    target = ["--python-version", python, "--implementation", "cp", *platforms]
    versions = pins()
    wanted = [f"{package}=={versions[package]}" for package in PACKAGES]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", *target]
    subprocess.run([*command, "-d", str(folder), *wanted], check=True)
    size = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
    print(f"{folder}: {len(wanted)} wheels for Python {python}, {size / 2**20:.1f} MiB")


def pins() -> dict[str, str]:
    """Return the versions of constraints.txt by package."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", CONSTRAINTS.read_text(), re.MULTILINE))


def install(folder: Path, target: Path) -> None:
    """Install all wheels of a folder into another folder, without network. Raises CalledProcessError."""
    wheels = sorted(map(str, folder.glob("*.whl")))
    if not wheels:
        raise FileNotFoundError(f"There are no wheels in {folder}; make them with --download-wheels {folder}.")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*command, "--target", str(target), *wheels], check=True)
