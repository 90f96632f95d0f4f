"""Tests of the wheel, installed away from the checkout: its commands run, and it holds the shipped images."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
REFERENCE = "dipddpm/core/assets/reference-runs/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", built], cwd=CHECKOUT, check=True)
    (path,) = built.glob("*.whl")
    return path


def test_wheel_holds_only_package_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dipddpm"}
    assert {"dipddpm/py.typed", "dipddpm/tui/console/console.tcss", "dipddpm/tui/console/serve.html"} <= set(names)
    assert any(name.startswith("dipddpm/core/assets/fashion-mini/") for name in names)
    assert [name for name in names if name.startswith(REFERENCE) and name.endswith("/checkpoints/best.safetensors")]
    assert not [name for name in names if name.endswith((".pyc", ".tmp"))]


def test_wheel_works_away_from_checkout(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)

    def dipddpm(*arguments: str) -> str:
        return subprocess.run(
            [site / "bin" / "dipddpm", *arguments],
            cwd=elsewhere,
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    listed = {line.split()[0]: line for line in dipddpm("data").splitlines() if line and ":" not in line.split()[0]}
    assert "here" in listed["fashion-mini"]
    assert str(site) in listed["fashion-mini"], "the data set is the wheel's, not the checkout's"
    assert str(site / REFERENCE) in dipddpm("show", "reference"), "the trained prior is the wheel's"
    assert "reference" in dipddpm("ls")
    assert 'kind = "hybrid"' in dipddpm("run", "hybrid", "--preset", "quick", "--dry-run")
    assert list(elsewhere.iterdir()) == []
