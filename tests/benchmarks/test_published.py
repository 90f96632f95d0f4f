from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import published
from dipddpm.core.errors import UserError

CODE = """
import torch
from torch import nn

class MyUNet(nn.Module):
    def __init__(self, n_steps):
        super().__init__()
        assert n_steps == 1000
        self.scale = nn.Parameter(torch.ones(()))

class MyDDPM(nn.Module):
    def __init__(self, network, n_steps, min_beta, max_beta, device):
        super().__init__()
        assert (n_steps, min_beta, max_beta) == (1000, 1e-4, 0.02)
        self.network = network.to(device)

    def forward(self, x0, t, eta):
        assert x0.shape == eta.shape == (128, 1, 28, 28) and t.shape == (128,)
        assert -1 <= x0.min() and 0.9 < x0.max() <= 1
        return x0 + eta

    def backward(self, x, t):
        assert t.shape == (128, 1)
        return self.network.scale * x
"""


def checkout(folder: Path) -> Path:
    path = folder / published.MODELS
    path.parent.mkdir(parents=True)
    path.write_text(CODE)
    return folder


def test_published_compare_times_all_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Compilation takes half a minute, and other tests cover it.
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    rows = published.compare(published.load(checkout(tmp_path)), torch.device("cpu"), steps=1, repeats=1)
    assert [row.name for row in rows] == [
        "published",
        "ours, float32",
        "ours, float32, compiled",
        "ours, bfloat16",
        "ours, bfloat16, compiled",
    ]
    assert rows[0].ratio == 1
    assert all(row.seconds > 0 and row.against == "published" for row in rows)


def test_published_load_refuses_folder_without_code(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="doesn't have the published network's code"):
        published.load(tmp_path)
