"""The random generators that all code shares: Python's, NumPy's and torch's.

What draws here has a generator of its own, but for dropout; libraries may use these. So a run begins with all of them
seeded, and a checkpoint keeps where they stand.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from dipddpm.core.events import StateDict


def seed(value: int) -> None:
    """Seed them all."""
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def state_dict(device: torch.device) -> dict[str, Any]:
    """Where they stand, that of an accelerator too if it is what one works on."""
    version, words, gauss = random.getstate()
    name, key, position, has_gauss, cached = np.random.get_state()
    state: dict[str, Any] = {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(key).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def load_state_dict(state: StateDict, device: torch.device) -> None:
    """The inverse of `state_dict`. What is kept of another kind of device than this one is left out."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, key, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, key.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"].cpu())
