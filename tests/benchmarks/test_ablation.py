"""Tests of the ablation of calibrated: its variants on a small case, its cells, its resumable rows and its table."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from benchmarks import ablation
from benchmarks.ablation import FULL, SETTINGS, VARIANTS, cell_order, load, restorations, save, table
from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.config.study import TASKS
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.calibrated.method import CalibratedRestorer
from tests.core.methods.cases import SMALL, case, ideal_prior, shapes

TRUTH = shapes(3, size=16)
DIP = msgspec.structs.replace(SMALL, iterations=10)
FEW = Calibrated(hidden=0.2, steps=3, trial_samples=2, samples=2, restarts=1, least=0)


def restored(given: Case, *variants: str) -> dict[str, torch.Tensor]:
    return {name: images for name, (images, _) in restorations(given, ideal_prior(TRUTH), FEW, DIP, variants)}


def test_cells_take_all_tasks_in_turn_and_each_cell_once() -> None:
    cells = cell_order()
    assert len(set(cells)) == len(cells) == 24
    for begin in range(0, 24, 6):
        assert [task for task, _ in cells[begin : begin + 6]] == list(TASKS)


def test_variants_without_a_candidate_are_means_of_the_others() -> None:
    given = case("denoise:sigma=25", TRUTH)
    images = restored(given, FULL, "equal weights", "no pooling", "no DIP")
    made = CalibratedRestorer(given, ideal_prior(TRUTH), FEW, DIP)
    list(made)
    torch.testing.assert_close(images[FULL], made.images)
    assert not torch.equal(images["no DIP"], images[FULL])
    results = torch.stack([made._result(kind) for kind in made.kinds])
    assert not torch.equal(images["no pooling"], images[FULL])
    assert images["equal weights"].sub(results.mean(0)).abs().max() < 0.2


@pytest.mark.parametrize("task", ["inpaint:missing=0.5,sigma=5", "superres:factor=2"])
def test_all_variants_restore_finite_images(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "iterations=60", {"iterations": 5})
    images = restored(case(task, TRUTH), *VARIANTS)
    assert list(images) == list(VARIANTS)
    assert all(bool(each.isfinite().all()) and each.shape == TRUTH.shape for each in images.values())


def test_rows_are_made_once_and_compared_image_by_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.csv"
    save(out, [(task, name, FULL, str(i), f"{20 + i}", "2") for task, name in cell_order()[:2] for i in range(2)])
    save(out, [(*cell_order()[0], "pick", str(i), f"{19 + 2 * i}", "1") for i in range(2)])
    monkeypatch.setattr(ablation, "restorations", lambda *_: pytest.fail("these rows are in the file"))
    ablation.measure(out, images=2, cells=1, variants=[FULL, "pick"], threads=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(load(out)) == 6
    assert lines[1].split()[:2] == ["full", "2"]
    # Differences -1 and 0: mean -0.5, and Student's t with one degree of freedom, 12.71, times 0.5.
    assert table(load(out))[2][:3] == ("pick", "1", "-0.50 [-6.85, +5.85]")
