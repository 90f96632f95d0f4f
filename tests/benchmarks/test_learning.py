from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.learning import (
    LossPoint,
    logged,
    measured,
    overtaken,
    plot,
    reached,
    seconds_per_epoch,
    seconds_per_image,
)
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DdpmRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModel, EpochFinished
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.runs import EventLog, Run

CURVE = [LossPoint(1, 0.4), LossPoint(2, 0.2), LossPoint(4, 0.1)]


def test_reached_interpolates_in_log_loss() -> None:
    assert reached(CURVE, 0.2) == 2
    assert reached(CURVE, 0.1 * 2**0.5) == pytest.approx(3)
    assert reached(CURVE, 0.5) == 1, "a loss above the first point counts as reached there"
    assert reached(CURVE, 0.09) is None


@given(epoch=st.floats(1, 4))
def test_reached_inverts_curve(epoch: float) -> None:
    loss = 0.4 * 2.0 ** (1 - epoch) if epoch <= 2 else 0.2 * 2.0 ** ((2 - epoch) / 2)
    assert reached(CURVE, loss) == pytest.approx(epoch)


def test_overtaken_by_same_curve_gives_ratio_of_epoch_times() -> None:
    rows = overtaken(CURVE, [*CURVE, LossPoint(8, 0.05)], ratio=0.5)
    assert [row.share for row in rows] == [0.5, 0.5, 0.5, None]
    assert [row.epochs for row in rows] == [1, 2, 4, None]
    (curve,) = plot({"ours": CURVE}, {"ours": 30.0}).curves
    assert (curve.x, curve.y) == ([0.5, 1.0, 2.0], [0.4, 0.2, 0.1])


def test_measured_losses_equal_logged_losses(tiny: Callable[..., DdpmRun], tmp_path: Path) -> None:
    config = tiny(ddpm__hold_out=True, ddpm__epochs=2, data__train_images=64)
    experiment = DdpmExperiment.from_config(config, "cpu")
    models, logged_losses = {}, {}
    for item in experiment:
        if isinstance(item, BestModel):
            models[item.epoch] = tmp_path / f"{item.epoch}.safetensors"
            checkpoint.save(models[item.epoch], {}, item.network)
        elif isinstance(item, EpochFinished):
            assert item.held_out is not None
            logged_losses[item.epoch] = item.held_out
    assert models
    assert measured(config, models) == [LossPoint(epoch, logged_losses[epoch]) for epoch in sorted(models)]


def test_logged_reads_held_out_losses(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for epoch in (1, 2):
        log.append(EpochFinished(epoch=epoch, step=epoch, loss=1.0, held_out=1 / epoch))
    log.close()
    assert logged(Run(tmp_path)) == [LossPoint(1, 1.0), LossPoint(2, 0.5)]


def test_logged_refuses_run_without_held_out_images(finished: Run) -> None:
    with pytest.raises(UserError, match="no held-out loss"):
        logged(finished)


def test_seconds_per_epoch_counts_training_images(tiny: Callable[..., DdpmRun]) -> None:
    speeds = seconds_per_image({"tiny": tiny()}, images=128, repeats=1)
    assert speeds["tiny"] > 0
    assert seconds_per_epoch(tiny(), 0.5) == 128
