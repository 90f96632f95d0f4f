from __future__ import annotations

import csv
from pathlib import Path

import pytest
from scipy import stats

from benchmarks import degraded_only
from benchmarks.__main__ import main
from dipddpm.core.config import HybridRun, build
from dipddpm.core.errors import UserError
from dipddpm.core.experiments.degraded_only.experiment import build_training, split_clean
from dipddpm.core.experiments.degraded_only.training import DegradedOnlyTraining
from dipddpm.core.experiments.given import load_batch
from dipddpm.core.images import to_unit

SETTINGS = {
    "ddpm.epochs": 1,
    "ddpm.evaluate": 128,
    "ddpm.sample_steps": 2,
    "ddpm.timesteps": 20,
    "hybrid.steps": 2,
    "hybrid.samples": 2,
    "unet.channels": "8",
    "unet.attention": 0,
}


def training(kind: type[DegradedOnlyTraining] = DegradedOnlyTraining) -> DegradedOnlyTraining:
    settings = {**SETTINGS, "data.train_images": 20, "images.indices": "0-2", "hybrid.start": "pinv"}
    config = build("hybrid", preset="degraded-only", task="inpaint:missing=0.5,sigma=10", settings=settings)
    assert isinstance(config, HybridRun)
    train, _ = split_clean(config)
    return build_training(config, train, load_batch(config, 1), "cpu", training_class=kind)


@pytest.mark.slow
def test_command_writes_a_row_for_each_start_and_round(tmp_path: Path) -> None:
    given = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    sizes = ["--images", "20", "--held-out", "3", "--rounds", "1", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(["degraded-only", "--starts", "pinv,clean,true images", *sizes, *given, "--set", "hybrid.clean=5"])
    assert ended.value.code == 0
    with (tmp_path / "degraded-only.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(row["start"], row["round"]) for row in table] == [
        (start, number) for start in ("pinv", "clean", "true images") for number in "01"
    ]
    assert [bool(row["frechet"]) for row in table] == [False, True, True, True, False, True]


def test_run_goes_on_from_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degraded_only, "STORE_SECONDS", 0)
    *_, whole = degraded_only.run(training(), tmp_path / "whole.safetensors", "settings")
    stopped = degraded_only.run(training(), tmp_path / "other.safetensors", "settings")
    assert next(stopped) == {}
    first = next(stopped)  # after round 0
    assert [*first] == [0]
    *_, resumed = degraded_only.run(training(), tmp_path / "other.safetensors", "settings")
    assert [*resumed] == [*whole] == [0, 1, 2, 3]
    for number, row in whole.items():
        assert {**row, "seconds": 0} == {**resumed[number], "seconds": 0}
    with pytest.raises(UserError, match="other settings"):
        next(degraded_only.run(training(), tmp_path / "other.safetensors", "other settings"))


def test_reference_trains_on_the_true_images() -> None:
    run = training(degraded_only.ReferenceTraining)
    list(run)
    assert run.images.equal(to_unit(run.sets[0].images))


def test_rows_have_the_bounds_of_the_paired_difference() -> None:
    dip, other = [20.0, 22.0, 25.0, 21.0], [21.0, 22.5, 27.0, 21.0]
    results = {
        "dip": {0: {"round": 0, "psnr": dip, "seconds": 5.0}},
        "pinv": {0: {"round": 0, "psnr": other, "seconds": 2.0, "frechet": 3.0}, 1: {"round": 1, "psnr": other}},
    }
    table = [dict(zip(degraded_only.COLUMNS, row, strict=True)) for row in degraded_only.rows(results)]
    assert [(row["start"], row["round"]) for row in table] == [("dip", "0"), ("pinv", "0")]  # round 1 isn't finished
    differences = [a - b for a, b in zip(other, dip, strict=True)]
    lower, upper = stats.t.interval(0.95, 3, loc=sum(differences) / 4, scale=stats.sem(differences))
    assert float(table[1]["minus dip"]) == pytest.approx(0.875)
    assert [float(table[1][name]) for name in ("lower", "upper")] == pytest.approx([lower, upper], abs=1e-3)
    assert table[0]["minus dip"] == ""
