"""Random numbers: seeds derived from the run's seed, and the global generators of Python, NumPy and torch.

Everything random in this program except dropout has its own generator. Libraries may use the global generators, so a
run seeds all of them at its start and a checkpoint holds their states. Importing this loads no torch.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def derive(seed: int, purpose: str) -> int:
    """Derive a seed in [0, 2^63) for one purpose ("training", "samples"), independent of other purposes and seeds.

    With one generator per purpose, one part of a run can draw more or less without changing the draws of another.
    """
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def seed_all(value: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    import numpy as np
    import torch

    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def state_dict(device: torch.device) -> dict[str, Any]:
    """Return the states of the global generators, including the accelerator's if the device is one."""
    import numpy as np
    import torch

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


def load_state_dict(state: Mapping[str, Any], device: torch.device) -> None:
    """Set the global generators to these states. The state of a generator for another kind of device is ignored."""
    import numpy as np
    import torch

    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, key, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, key.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"].cpu())
