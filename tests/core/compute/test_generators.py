"""The generators that all code shares go on from where they stood."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from dipddpm.core.compute import checkpoint, generators

CPU = torch.device("cpu")


def drawn() -> list[float]:
    return [random.random(), random.gauss(), np.random.rand(), np.random.randn(), torch.rand(()).item()]


def test_they_go_on_from_a_file(tmp_path: Path) -> None:
    generators.seed(2**63 - 1)
    drawn()
    random.gauss()  # of the pairs that are drawn, one is kept
    np.random.randn()
    checkpoint.save(tmp_path / "last.safetensors", generators.state_dict(CPU))
    expected = drawn()
    generators.seed(3)
    assert drawn() != expected
    generators.load_state_dict(checkpoint.load_state(tmp_path / "last.safetensors"), CPU)
    assert drawn() == expected


def test_a_seed_settles_them_all() -> None:
    generators.seed(5)
    first = drawn()
    generators.seed(5)
    assert drawn() == first
