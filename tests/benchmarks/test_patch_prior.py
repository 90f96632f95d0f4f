"""Tests of the benchmark of the patch prior: its damage and its resumable rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.patch_prior import damaged_case, measure


def test_damage_has_the_given_level_or_misses_half_of_the_pixels() -> None:
    truth = torch.full((1, 3, 64, 64), 0.5)
    noisy = damaged_case(truth, "sigma 50", 1)
    assert (noisy.y - truth).std().item() == pytest.approx(50 / 255, rel=0.05)
    assert noisy.y.max() > 1, "noise isn't clipped"
    holed = damaged_case(truth, "50% missing", 1)
    missing = holed.y == 0
    assert missing.float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert bool((missing == missing[:, :1]).all())


def test_rows_are_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.csv"
    for _ in range(2):
        measure(out, picture=["chelsea"], size=24, only="biharmonic", threads=1)
    (row,) = out.read_text().splitlines()
    assert row.startswith("chelsea,24,50% missing,biharmonic,")
    assert np.float64(row.split(",")[4]) > 20
    assert "biharmonic" in capsys.readouterr().out
