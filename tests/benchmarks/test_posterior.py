"""The comparison with the exact posterior on small images: its rows, its table, and that it resumes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from benchmarks import posterior, posterior_rows
from benchmarks.exact import Mixture
from benchmarks.posterior_rows import EXACT, LONG, Row, Sampler, load, samplers, save, table, title

DDNM = Sampler("ddnm", "ddnm", 5)
TASK = "inpaint:missing=0.6,sigma=20"


def small(name: str, population: int = 20) -> Mixture:
    images = 0.5 * torch.randn(population, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    return Mixture.gaussian(images, 0.1) if name == "gaussian" else Mixture.around(images, 0.5, 0.1)


def test_rows_of_exact_posterior_lose_nothing_and_cover_their_levels() -> None:
    rows = posterior.Bench("images", TASK, small("images"), 60, seed=1).measure(EXACT)

    def mean(column: str) -> float:
        total: float = sum(getattr(row, column) for row in rows)
        return total / len(rows)

    assert mean("limit") == pytest.approx(0, abs=0.03)
    assert mean("spread") == pytest.approx(1, abs=0.03)
    assert mean("covered_50") == pytest.approx(0.5, abs=0.04)
    assert mean("covered_90") == pytest.approx(0.9, abs=0.03)
    # The squared error of one sample is twice the least, that of a mean of 8 is 9 / 8 of it.
    assert mean("psnr_of_exact") - mean("psnr_of_1") == pytest.approx(10 * math.log10(2), abs=0.3)
    assert mean("psnr_of_exact") - mean("psnr_of_8") == pytest.approx(10 * math.log10(9 / 8), abs=0.15)
    assert {row.nfe for row in rows} == {0}


def test_row_separates_bias_from_finite_number_of_samples() -> None:
    row = Row("images", TASK, "x", 20, 0, 20, 17, 19, 20, 400, 320, 110, 0.5, 0.9, 3, 20, 0.1)
    # Of the squared distance 110, 320 / 32 = 10 are due to the 32 samples.
    assert row.limit == pytest.approx(10 * math.log10(500 / 400))
    assert row.spread == pytest.approx(math.sqrt(0.8))
    assert math.isnan(row._replace(variance=1e9).limit)
    diverged = [row._replace(method="dps", image=image, variance=1e9) for image in range(2)]
    assert table(diverged)[1][5] == "diverges"


def test_command_resumes_and_prints_all_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(posterior, "TASKS", {"images": (TASK,), "gaussian": ("denoise:sigma=50",)})
    monkeypatch.setattr(posterior, "distribution", small)
    monkeypatch.setattr(posterior_rows, "SAMPLERS", (EXACT, DDNM))
    monkeypatch.setattr(posterior_rows, "LONG", Sampler("mmps 2", "mmps", 6, {"iterations": 2}))
    out = tmp_path / "rows.csv"
    posterior.measure(out, images=3, population=20)
    made = load(out)
    counts = [(row.images, row.method, row.nfe) for row in made if row.image == 0]
    assert counts == [
        ("images", "exact", 0),
        ("images", "ddnm", 5),
        ("gaussian", "exact", 0),
        ("gaussian", "ddnm", 5),
        ("gaussian", "mmps 2", 6),
    ]
    assert len(made) == 15
    first = capsys.readouterr().out
    assert "images, inpaint:missing=0.6,sigma=20: 3 images; the exact posterior mean has" in first
    assert "LOSS OF 32, dB" in first

    def refuse(self: posterior.Bench, sampler: Sampler) -> list[Row]:
        raise AssertionError(sampler)

    monkeypatch.setattr(posterior.Bench, "measure", refuse)
    posterior.measure(out, images=3, population=20)
    assert load(out) == made


def test_table_has_a_line_for_each_measured_sampler(tmp_path: Path) -> None:
    def row(method: str, steps: int, image: int, loss: float) -> Row:
        losses = (20 - loss, 20 - loss / 2, 20 - loss / 4)
        return Row("images", TASK, method, steps, image, 20, *losses, 400, 400, 12.5, 0.4, 0.8, 2, steps, 0.25)

    rows = [row("exact", 0, 0, 3), row("exact", 0, 1, 3), row("dps", 100, 0, 4), row("dps", 100, 1, 6)]
    save(tmp_path / "rows.csv", rows)
    assert load(tmp_path / "rows.csv") == rows
    heading, exact, dps = table(rows)
    assert len(heading) == len(exact) == len(dps)
    assert exact[:3] == ("exact", "0", "+3.00 [+3.00, +3.00]")
    assert dps[:2] == ("dps", "100")
    assert dps[2].startswith("+5.00 [")
    assert dps[-3:-1] == ("40 [40, 40]", "80 [80, 80]")
    assert title(rows).endswith("2.0 to 2.0 effective images, median 2.0")


def test_gaussian_images_have_one_more_row() -> None:
    assert samplers("gaussian") == (*samplers("images"), LONG)
