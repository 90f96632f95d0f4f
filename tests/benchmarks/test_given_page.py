from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.damage import damaged
from benchmarks.given import Row, Table
from benchmarks.given_page import STRIPS, measure
from benchmarks.original_pictures import COLUMNS
from dipddpm.core.errors import UserError


def test_page_has_tables_of_best_first_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(tmp_path / "given.csv")
    table.append(Row("camera", "noise", 0, "tv", psnr=27.0, ssim=0.7, cpu_seconds=5.0, peak_mib=300.0))
    table.append(Row("camera", "noise", 0, "auto", "tv", psnr=28.126, ssim=0.75, cpu_seconds=9.0, peak_mib=400.0))
    table.append(Row("astronaut", "noise", 0, "dip", seconds=601.0, note="not finished after 600 s"))
    (tmp_path / "pictures").mkdir()
    for picture, damage, methods in STRIPS:
        for method in methods:
            Image.fromarray(damaged(picture, damage).truth // 2).save(
                tmp_path / "pictures" / f"{picture}-{damage}-{method}.png"
            )
    original = tmp_path / "original"
    original.mkdir()
    Image.fromarray(damaged("camera", "noise", 64).pixels).save(original / "camera-noise-64.png")
    with (original / "camera-noise-64.csv").open("w", newline="") as stream:
        values = ("camera", "noise", 64, 400, 3000, 90.0, 61.2, 0.01, 24.0, 26.0)
        csv.writer(stream).writerows([COLUMNS, values])
    measure(tmp_path, original=original, picture=tmp_path / "page.png")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert lines[0].startswith("| method | camera PSNR | camera SSIM | camera CPU s | astronaut PSNR")
    assert lines[1] == "| `auto` (camera: tv) | 28.13 | 0.750 | 9 |  |  |  | 400 |"
    assert lines[2].startswith("| `tv` | 27.00 |")
    assert lines[3] == "| `dip` (astronaut: not finished after 600 s) |  |  |  | - | - | > 601 |  |"
    assert lines[5].startswith("| DIP, original code, denoising.ipynb, F16 (camera: 400 of 3000 iterations) | 2")
    assert lines[5].endswith("| 61 |  |")
    with Image.open(tmp_path / "page.png") as page:
        assert page.width > 800
        assert np.asarray(page.convert("L")).std() > 20


def test_page_without_measurements_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no measurements"):
        measure(tmp_path)
