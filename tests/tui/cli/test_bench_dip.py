"""`dipddpm bench stops` through a real process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-P", "-c", "from dipddpm.tui.cli.main import main; main()", "bench"]
SMALL = ["--dataset", "fashion-mini", "--images", "0-1", "--iterations", "4", "--task", "denoise", "--device", "cpu"]


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


def test_a_table_is_made_in_parts(tmp_path: Path) -> None:
    first = bench("stops", *SMALL, "--seeds", "1", "--out", tmp_path / "stops.json")
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("below the peak") == 1
    second = bench("stops", *SMALL, "--seeds", "2", "--out", tmp_path / "stops.json")
    assert second.stderr.count("seed 1:") == second.stderr.count("below the peak") == 1
    header, row = second.stdout.splitlines()
    assert header.split() == ["TASK", "RULE", "SEEDS", "STOP", "PSNR", "PEAK", "FINAL", "GAP", "95%"]
    assert row.split()[:3] == ["denoise:sigma=25", "discrepancy", "2"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    refused = bench("original", tmp_path)
    assert refused.returncode == 2
    assert "no code of the original" in refused.stderr
    refused = bench("stops", "--dataset", "fashion-mini", "--images", "600")
    assert refused.returncode == 2
    assert "no image 600" in refused.stderr
