from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import original
from dipddpm.core.config import DipRun, build
from dipddpm.core.errors import UserError

CODE = """
import torch
from .parts import Constant

def get_net(inputs, kind, pad, upsample_mode, n_channels, num_scales):
    assert (inputs, kind, pad, upsample_mode, n_channels, num_scales) == (32, "skip", "reflection", "bilinear", 1, 3)
    return Constant(inputs)
"""
PARTS = """
import torch

class Constant(torch.nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.mix = torch.nn.Conv2d(inputs, 1, 1)

    def forward(self, z):
        return torch.sigmoid(self.mix(z))
"""


def checkout(folder: Path) -> Path:
    """Write code in the original's layout, with a network that is no image prior."""
    (folder / "models").mkdir()
    (folder / "models" / "__init__.py").write_text(CODE)
    (folder / "models" / "parts.py").write_text(PARTS)
    return folder


def test_original_compare_restores_same_images_by_both(tmp_path: Path) -> None:
    settings = {
        "data.dataset": "fashion-mini",
        "images.indices": "0-2",
        "dip.iterations": 30,
        "dip.channels": 4,
        "dip.input_channels": 4,
    }
    config = build("dip", task="denoise:sigma=25", settings=settings)
    assert isinstance(config, DipRun)
    result = original.compare(original.load(checkout(tmp_path)), config, 2, 20)
    assert (result.images, result.fitted) == (3, 2)
    assert 1 <= result.best_at <= 20
    assert result.original.wall == pytest.approx(result.milliseconds / 1000 * result.best_at * 3)
    assert result.ratio(result.ours).wall == pytest.approx(result.original.wall / result.ours.wall)
    assert result.ratio(result.ours).cpu == pytest.approx(result.original.cpu / result.ours.cpu)
    assert result.time_to_match is not None, "our fit must soon match a network that is no image prior"
    assert min(result.time_to_match.wall, result.ours.wall, result.ours.cpu) > 0
    # The network outputs nearly one grey level for a whole image, so its least error is the truth's variance.
    truth = original._experiment(config, torch.device("cpu")).images[:2]
    limit = sum(-10 * torch.log10(image.var(correction=0)).item() for image in truth) / 2
    assert result.best < limit + 0.5


def test_original_load_refuses_folder_without_code(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="doesn't have the original's code"):
        original.load(tmp_path)
