from __future__ import annotations

from benchmarks.checkpoints import figures
from dipddpm.core import config as configs


def test_figures_count_checkpoints_of_run() -> None:
    settings = {
        "data.dataset": "fashion-mini",
        "data.train_images": 32,
        "ddpm.batch_size": 16,
        "ddpm.network": "unet",
        "unet.channels": "8,8",
        "ddpm.timesteps": 20,
        "ddpm.epochs": 3,
        "ddpm.samples": 0,
        "device": "cpu",
        "checkpoint_epochs": 1,
    }
    row = figures(configs.build("ddpm", settings=settings))
    assert (row.epochs, row.stored_epochs) == (3, 3)
    assert row.count >= 4
    assert 0 < row.share < 1
    assert row.gap > 0
    assert row.megabytes > 0.01
