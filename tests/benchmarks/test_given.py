from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import given
from benchmarks.damage import damaged
from benchmarks.given import Cost, Row, Table, measure
from benchmarks.rivals import RIVALS

WORKER = "b = bytearray(150 << 20); import time; time.sleep(0.5)"
STARTS_WORKER = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORKER!r}], start_new_session=True)"


def test_run_measures_memory_of_workers_in_sessions_of_their_own() -> None:
    cost, problem = given.run([sys.executable, "-c", STARTS_WORKER], 60)
    assert not problem
    assert 150 < cost.peak_mib < 250
    assert cost.seconds > 0.5
    assert cost.cpu_seconds <= cost.seconds * 2


def test_run_ends_commands_after_the_limit_and_reports_failures() -> None:
    assert given.run([sys.executable, "-c", "import time; time.sleep(60)"], 0.5)[1] == "not finished after 0 s"
    assert given.run([sys.executable, "-c", "import sys; print('no'); sys.exit(3)"], 60)[1] == "no"


def test_table_has_a_row_for_each_command_and_repeats_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []

    def copy(command: Sequence[str], limit: float) -> tuple[Cost, str]:
        commands.append(command)
        file = tmp_path / "pictures" / "camera-text-64.png"
        shutil.copy(file, next(word for word in command if word.endswith(("-auto.png", "-biharmonic.png"))))
        return Cost(1.5, 1.0, 100.0), ""

    monkeypatch.setattr(given, "run", copy)
    for _ in range(2):
        measure(
            picture=["camera"], damage=["text"], method=["auto", "skimage-biharmonic"], size=64, out=tmp_path, limit=600
        )
    assert len(commands) == 2
    assert [word for word in commands[0] if word.endswith("mask.png")] == [commands[0][commands[0].index("--mask") + 1]]
    rows = Table(tmp_path / "given.csv").rows
    assert [row.method for row in rows] == ["auto", "skimage-biharmonic"]
    case = damaged("camera", "text", 64)
    error = np.mean((case.pixels.astype(float) - case.truth) ** 2)
    assert rows[0].psnr == pytest.approx(10 * math.log10(255**2 / error), abs=1e-3)
    mask = np.asarray(Image.open(tmp_path / "pictures" / "camera-text-64-mask.png"))
    assert case.known is not None
    assert np.array_equal(mask == 255, case.known)


def test_table_keeps_rows_exactly(tmp_path: Path) -> None:
    rows = [
        Row("camera", "noise", 0, "auto", "tv", 28.5, 0.8, 3.0, 2.0, 300.0, 24.5, 28.0, 27.0, 29.0),
        Row("camera", "noise", 0, "dip", note="not finished after 600 s"),
    ]
    table = Table(tmp_path / "given.csv")
    for row in rows:
        table.append(row)
    again = Table(tmp_path / "given.csv")
    assert again.rows == rows
    assert ("camera", "noise", 0, "dip") in again
    assert ("camera", "noise", 128, "dip") not in again


@pytest.mark.parametrize("channels", [0, 3])
def test_rivals_restore_better_than_the_damage(channels: int) -> None:
    side = np.linspace(0.2, 0.8, 32)
    truth = np.add.outer(side, side) / 2
    truth = np.stack([truth] * channels, -1) if channels else truth
    random = np.random.default_rng(0)
    noisy = truth + 25 / 255 * random.standard_normal(truth.shape)
    mask = (random.random((32, 32)) > 0.3).astype(float)
    holes = truth * (mask[..., None] if channels else mask)
    pytest.importorskip("bm3d")
    for name, rival in RIVALS.items():
        inputs = (holes, mask) if rival.damages != ("noise",) else (noisy, truth) if rival.uses_truth else (noisy,)
        restored = rival.restore(*inputs)
        assert np.mean((restored - truth) ** 2) < 0.3 * np.mean((inputs[0] - truth) ** 2), name
