"""Fixtures for the tests of the experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import msgspec
import pytest
import torch

from dipddpm.core import config as configs
from dipddpm.core.config import DdpmRun
from dipddpm.core.events import BestModel, EpochFinished, Item, Pictures, Step
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.launch.recorder import Recorder
from dipddpm.core.runs import EventLog, Run

Trained = Callable[[Mapping[str, Any]], Run]


@pytest.fixture(scope="session")
def plain() -> Callable[[Item], Any]:
    """Return a function that makes items comparable: without clock readings, with tensors as lists."""

    def comparable(item: Item) -> Any:
        match item:
            case Step():
                return msgspec.structs.replace(item, images_per_second=None)
            case EpochFinished():
                return msgspec.structs.replace(item, images_per_second=None, seconds=0.0)
            case Pictures():
                return msgspec.structs.replace(item, images=item.images.tolist())
            case BestModel():
                return ("best", item.step, item.value, item.measure, item.epoch)
        return item

    return comparable


@pytest.fixture
def double() -> Iterator[None]:
    """Make float64 the default, so that results equal up to rounding stay equal for more steps."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def train_prior(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return a function that trains a prior for an epoch, with these settings, and returns its run."""

    def train(settings: Mapping[str, Any]) -> Run:
        folder = tmp_path_factory.mktemp("prior")
        for name in ("checkpoints", "images"):
            (folder / name).mkdir()
        config = cast(DdpmRun, configs.build("ddpm", settings={**settings, "ddpm.epochs": 1}))
        (folder / "config.toml").write_text(configs.to_toml(config))
        log = EventLog(folder)
        recorder = Recorder(folder, log)
        for item in DdpmExperiment.from_config(config, "cpu"):
            recorder.record(item)
        recorder.flush()
        log.close()
        return Run(folder)

    return train
