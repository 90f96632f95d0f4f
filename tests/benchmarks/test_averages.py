from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import averages
from benchmarks.power_average import PowerAverage, combined, exponent_of, shares
from dipddpm.core import config as configs
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DdpmRun
from dipddpm.core.errors import UserError
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.runs import RunsFolder


def walk(network: nn.Module, step: int) -> None:
    """Move the weights as a training does that settles."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=step**-0.5)


@pytest.mark.parametrize(("length", "exponent"), [(0.05, 16.97), (0.10, 6.94)])
def test_length_gives_published_exponent(length: float, exponent: float) -> None:
    assert exponent_of(length) == pytest.approx(exponent, abs=0.005)


@pytest.mark.parametrize("length", [0.02, 0.1, 0.25])
def test_shares_have_their_length(length: float) -> None:
    steps = np.arange(1, 4001)
    share = shares(exponent_of(length), 4000, 4000)
    mean = (share * steps).sum()
    assert share.sum() == pytest.approx(1)
    assert np.sqrt((share * (steps - mean) ** 2).sum()) / 4000 == pytest.approx(length, rel=0.01)


def test_average_is_sum_of_shares() -> None:
    network, history = nn.Linear(3, 2), list[torch.Tensor]()
    average = PowerAverage(network, 5.0)
    for step in range(1, 21):
        walk(network, step)
        average.update(network)
        history.append(network.weight.detach().clone())
    expected = sum(share * weight for share, weight in zip(shares(5.0, 20, 20), history, strict=True))
    torch.testing.assert_close(average.weights[0], expected, check_dtype=False)


@pytest.mark.parametrize("length", [0.03, 0.07, 0.15])
def test_snapshots_give_average_of_other_length(length: float) -> None:
    network = nn.Linear(8, 8)
    tracked = [PowerAverage(network, exponent_of(known)) for known in (0.05, 0.1)]
    direct = PowerAverage(network, exponent_of(length))
    snapshots = []
    for step in range(1, 641):
        walk(network, step)
        for average in (*tracked, direct):
            average.update(network)
        if step % 20 == 0:
            snapshots += [average.snapshot() for average in tracked]
    found = combined(snapshots, exponent_of(length))
    apart = (network.weight - direct.weights[0]).norm()
    assert (found[0] - direct.weights[0]).norm() < 0.05 * apart


def test_snapshot_gives_its_own_average() -> None:
    network = nn.Linear(4, 4)
    average = PowerAverage(network, 6.94)
    for step in range(1, 11):
        walk(network, step)
        average.update(network)
    found = combined([average.snapshot()], 6.94)
    for one, other in zip(found, average.weights, strict=True):
        torch.testing.assert_close(one, other)


def build(**settings: Any) -> DdpmRun:
    small = {"data.dataset": "fashion-mini", "data.train_images": 64, "ddpm.network": "tutorial", "ddpm.samples": 0}
    settings = {"ddpm.hold_out": True, "ddpm.ema": 0.9, "ddpm.timesteps": 20, "ddpm.batch_size": 16} | settings
    return cast(DdpmRun, configs.build("ddpm", settings=small | settings))


@pytest.mark.slow
def test_training_that_was_interrupted_gives_same_averages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = build(**{"ddpm.epochs": 2})
    whole = averages.train(DdpmExperiment.from_config(config, "cpu"), tmp_path / "whole", 4)

    def interrupt(*given: Any) -> None:
        save(*given)
        raise KeyboardInterrupt

    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        averages.train(DdpmExperiment.from_config(config, "cpu"), tmp_path / "part", 4)
    monkeypatch.undo()
    resumed = averages.train(DdpmExperiment.from_config(config, "cpu"), tmp_path / "part", 4)
    assert list(resumed) == list(whole) == [averages.LAST, "ema=0.9", *map(averages.name_of, averages.LENGTHS)]
    assert all(torch.equal(a, b) for name in whole for a, b in zip(resumed[name], whole[name], strict=True))


@pytest.mark.slow
def test_command_scores_samples_of_best_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunsFolder(tmp_path / "runs").create(build())
    folder = tmp_path / "runs"
    averages.measure(run.id, epochs=1, snapshots=4, n=128, seeds=1, decay="none", out=tmp_path, runs_dir=folder)
    rows = {row["average"]: row for row in csv.DictReader((tmp_path / f"{run.id}-none-1.csv").read_text().splitlines())}
    losses = {name: float(row["chosen on"]) for name, row in rows.items()}
    best = min(map(averages.name_of, averages.LENGTHS), key=lambda name: losses[name])
    assert f"Chosen: {best}." in capsys.readouterr().out
    assert {averages.LAST, "ema=0.9", best} <= {name for name, row in rows.items() if float(row["frechet"] or 0)}
    assert len({row["reported on"] for row in rows.values()}) > 5, "the lengths differ"


def test_command_refuses_run_without_held_out_images(tmp_path: Path) -> None:
    run = RunsFolder(tmp_path / "runs").create(build(**{"ddpm.hold_out": False}))
    with pytest.raises(UserError, match="no held-out images"):
        averages.measure(run.id, runs_dir=tmp_path / "runs")
