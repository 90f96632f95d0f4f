"""What tests of the experiments share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import torch

from core.events import BestModel, EpochFinished, Item, Pictures, Step


@pytest.fixture(scope="session")
def plain() -> Callable[[Item], Any]:
    """What an item says, without clock readings and with tensors as lists: two runs alike say the same."""

    def told(item: Item) -> Any:
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

    return told


@pytest.fixture
def double() -> Iterator[None]:
    """Float64 for all that is made: what is the same but for rounding stays the same for longer."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
