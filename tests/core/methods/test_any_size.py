"""Tests of methods with a prior of patches: they take pictures of any size and colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import dipddpm
from dipddpm.core import config as configs
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DataConfig, DdpmConfig, DdpmRun, UNetConfig
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.patches import PatchDenoiser
from dipddpm.core.degrade import Degradation, GaussianNoise, Identity
from dipddpm.core.degrade.operators import Mask
from dipddpm.core.launch import preflight
from dipddpm.core.runs import BEST_FILE, CONFIG_FILE, trained

FEW = {"dip.iterations": 2, "dip.channels": 8, "dip.stop": "never"}
SETTINGS: dict[str, dict[str, Any]] = {
    "ddnm": {},
    "diffpir": {},
    "guided": {"hybrid.every": 1},
    "noise-fit": {"hybrid.iterations": 2, "hybrid.fits": 2},
    "prior-init": {"hybrid.steps": 2, "hybrid.samples": 1},
    "sequential": {"hybrid.every": 1, "hybrid.steps": 1},
    "calibrated": {
        "hybrid.folds": 2, "hybrid.steps": 1, "hybrid.samples": 1, "hybrid.trial_samples": 1,
    },
}  # fmt: skip


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    """Make the folder of a run that has trained a tiny model of 16x16 RGB patches, and return it."""
    folder = tmp_path / "20261128-000000-ddpm-0000"
    (folder / BEST_FILE).parent.mkdir(parents=True)
    config = DdpmRun(
        data=DataConfig(dataset="leaves"),
        ddpm=DdpmConfig(network="unet", schedule="cosine", objective="v", timesteps=20),
        unet=UNetConfig(channels="8,16", attention=0),
    )
    (folder / CONFIG_FILE).write_text(configs.to_toml(config))
    torch.manual_seed(0)
    checkpoint.save(folder / BEST_FILE, {}, UNet((3, 16, 16), channels=(8, 16), attention=0, timesteps=20))
    return folder


def test_model_of_patches_needs_no_shape_unless_it_is_trained_further(leaves: Path) -> None:
    model = TrainedModel.of_run(leaves)
    assert model.any_size
    assert isinstance(model.denoiser(), PatchDenoiser)
    assert trained.required_shape(str(leaves)) is None
    assert trained.required_shape(str(leaves), learns=True) == (3, 16, 16)


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize("shape", [(1, 3, 19, 23), (2, 1, 11, 17)])
def test_method_restores_other_sizes_and_colours(leaves: Path, method: str, shape: tuple[int, int, int, int]) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    mask = (torch.rand(shape[0], 1, *shape[2:], generator=torch.Generator().manual_seed(1)) > 0.3).float()
    for degradation in (Degradation(Identity(), GaussianNoise(0.1)), Degradation(Mask(mask), GaussianNoise(0.0))):
        settings = SETTINGS[method] | ({} if method in {"ddnm", "diffpir"} else FEW)
        prior = TrainedModel.of_run(leaves)
        restored = dipddpm.restore(
            degradation.operator.A(x), degradation, method=method, prior=prior, device="cpu", settings=settings
        )
        assert restored.images.shape == shape
        assert bool(restored.images.isfinite().all())


def test_run_with_files_of_any_size_is_not_refused(leaves: Path, tmp_path: Path) -> None:
    Image.new("RGB", (13, 9), (1, 2, 3)).save(tmp_path / "a.png")
    settings = {"images.files": (str(tmp_path / "a.png"),), "prior.run": str(leaves)}
    preflight.refuse(configs.build("hybrid", settings=settings))
