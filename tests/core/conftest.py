"""What tests of the experiments share."""

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
    """What an item says, without clock readings and with tensors as lists: two runs alike say the same."""

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
    """Float64 for all that is made: what is the same but for rounding stays the same for longer."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def train_prior(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train for an epoch, with these settings, here and now: the run that a prior is taken from."""

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
        log.close()
        return Run(folder)

    return train
