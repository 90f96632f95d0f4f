"""A prior in miniature, for all tests of the head-to-head."""

from __future__ import annotations

from typing import Any, cast

import pytest

from core import config as configs
from core.config import DdpmRun
from core.ddpm.run import DdpmExperiment
from core.recorder import Recorder
from core.runs import EventLog, Run


@pytest.fixture(scope="package")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has trained one, if only for a moment."""
    folder = tmp_path_factory.mktemp("prior")
    for name in ("checkpoints", "images"):
        (folder / name).mkdir()
    settings: dict[str, Any] = {
        "data.dataset": "fashion-mini",
        "data.train_images": 64,
        "ddpm.timesteps": 20,
        "ddpm.samples": 0,
    }
    settings |= {"ddpm.network": "unet", "unet.channels": "8,8"}
    config = cast(DdpmRun, configs.build("ddpm", settings={**settings, "ddpm.epochs": 1}))
    (folder / "config.toml").write_text(configs.to_toml(config))
    log = EventLog(folder)
    recorder = Recorder(folder, log)
    for item in DdpmExperiment.from_config(config, "cpu"):
        recorder.record(item)
    log.close()
    return Run(folder)
