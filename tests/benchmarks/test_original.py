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
    """A network of a layout like the original's, with no image prior at all."""
    (folder / "models").mkdir()
    (folder / "models" / "__init__.py").write_text(CODE)
    (folder / "models" / "parts.py").write_text(PARTS)
    return folder


def test_compare_restores_the_same_images_by_both(tmp_path: Path) -> None:
    settings = {
        "data.dataset": "fashion-mini",
        "images.indices": "0-2",
        "dip.iterations": 30,
        "dip.channels": 4,
        "dip.input_channels": 4,
    }
    config = build("dip", task="denoise:sigma=25", settings=settings)
    assert isinstance(config, DipRun)
    found = original.compare(original.load(checkout(tmp_path)), config, 2, 20)
    assert (found.images, found.fitted) == (3, 2)
    assert 1 <= found.best_at <= 20
    assert found.original.passed == pytest.approx(found.milliseconds / 1000 * found.best_at * 3)
    assert found.ratio(found.ours).passed == pytest.approx(found.original.passed / found.ours.passed)
    assert found.ratio(found.ours).processor == pytest.approx(found.original.processor / found.ours.processor)
    assert found.as_good is not None, "no image prior at all is soon as good as"
    assert 0 < found.as_good.passed < 2 * found.ours.passed
    assert 0 < found.ours.processor < 1.5 * torch.get_num_threads() * found.ours.passed
    # One level of grey for a whole image: its best is the standard deviation of the truth, at most.
    truth = original._experiment(config, torch.device("cpu")).images[:2]
    limit = sum(-10 * torch.log10(image.var(correction=0)).item() for image in truth) / 2
    assert found.best < limit + 0.5


def test_load_refuses_a_folder_without_the_code(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no code of the original"):
        original.load(tmp_path)
