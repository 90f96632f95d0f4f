"""A tiny prior for all tests of the head-to-head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dipddpm.core.runs import Run


@pytest.fixture(scope="package")
def prior(train_prior: Callable[[dict[str, Any]], Run]) -> Run:
    """Train a tiny prior in a run."""
    settings: dict[str, Any] = {
        "data.dataset": "fashion-mini",
        "data.train_images": 64,
        "ddpm.timesteps": 20,
        "ddpm.samples": 0,
    }
    settings |= {"ddpm.network": "unet", "unet.channels": "8,8"}
    return train_prior(settings)
