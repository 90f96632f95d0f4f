"""The estimate of a run's time is scaled from similar runs."""

from __future__ import annotations

from typing import Any

import pytest

from dipddpm.core import config as configs
from dipddpm.core.runs import RunState
from dipddpm.tui.console.screens.form import estimate
from dipddpm.tui.shared.runlist import RunRow


def _row(**given: Any) -> RunRow:
    known: dict[str, Any] = {
        "id": "a",
        "kind": "ddpm",
        "method": "tutorial",
        "state": RunState.finished,
        "epochs": 10,
        "duration": 100.0,
        "dataset": "fashionmnist",
        "device": "cuda:0",
        "started": 1.0,
    }
    return RunRow(**{**known, **given})


DDPM = configs.build("ddpm", settings={"ddpm.epochs": 30})


def test_estimate_scales_with_epochs() -> None:
    assert estimate(DDPM, [_row()]) == pytest.approx(300.0)


def test_estimate_scales_with_iterations_of_fit() -> None:
    row = _row(kind="dip", method="skip", epochs=0, steps=600, duration=60.0)
    assert estimate(
        configs.build("dip", settings={"dip.network": "skip", "dip.iterations": 1200}), [row]
    ) == pytest.approx(120.0)


def test_estimate_takes_median_of_latest_runs() -> None:
    rows = [
        _row(id=str(n), started=float(n), duration=d) for n, d in enumerate([9000.0, 90.0, 100.0, 110.0, 100.0, 95.0])
    ]
    assert estimate(DDPM, rows) == pytest.approx(300.0)


@pytest.mark.parametrize(
    "other",
    [
        {"state": RunState.stopped},
        {"kind": "hybrid"},
        {"method": "unet"},
        {"dataset": "cifar10"},
        {"duration": 0.0},
    ],
)
def test_estimate_ignores_runs_of_other_sorts(other: dict[str, Any]) -> None:
    assert estimate(DDPM, [_row(**other)]) is None
    assert estimate(DDPM, []) is None


def test_estimate_requires_same_named_device() -> None:
    config = configs.build("ddpm", settings={"ddpm.epochs": 30, "device": "cpu"})
    assert estimate(config, [_row()]) is None
    assert estimate(config, [_row(device="cpu")]) == pytest.approx(300.0)
