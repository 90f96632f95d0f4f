from __future__ import annotations

import hashlib

import pytest
import torch
from torch import Tensor

from dipddpm.core import data
from dipddpm.core.config import DipConfig, DipRun, HybridRun, build, parse_task
from dipddpm.core.degrade import Degradation
from dipddpm.core.experiments.dip import DipExperiment
from dipddpm.core.experiments.dip_cache import DipResultBank
from dipddpm.core.experiments.hybrid import HybridExperiment
from dipddpm.core.experiments.restore.cell import degrade_job
from dipddpm.core.experiments.restore.job import RestoreJob

# Uniform draws alone: they have the same bits on every CPU, which normal ones need not.
TASK = "inpaint:missing=0.5,noise=salt-and-pepper,hit=0.2"
SETTINGS = {
    "data.dataset": "fashion-mini",
    "images.split": "train",
    "images.indices": "3,1",
    "dip.channels": 4,
    "dip.scales": 1,
    "seed": 7,
}


def digest(y: Tensor, degradation: Degradation) -> str:
    """A hash of measurements and masks."""
    return hashlib.sha256(torch.stack([y, degradation.operator.measured(y)]).numpy().tobytes()).hexdigest()[:16]


def test_dip_experiment_measures_as_it_always_has() -> None:
    config = build("dip", task=TASK, settings=SETTINGS)
    assert isinstance(config, DipRun)
    batch = DipExperiment.from_config(config, "cpu").fit.batches[0]
    assert digest(batch.y, batch.degradation) == "f0430875d79edfc9"


def test_hybrid_experiment_measures_as_it_always_has() -> None:
    config = build("hybrid", method="self-diffusion", task=TASK, settings=SETTINGS)
    assert isinstance(config, HybridRun)
    case = HybridExperiment.from_config(config, "cpu").case
    assert digest(case.y, case.degradation) == "f0430875d79edfc9"
    assert case.seed == 6633127802144904708


@pytest.mark.parametrize(
    ("task", "expected"), [(TASK, "a130fcd53fb1492a"), (TASK.replace("missing=0.5", "box=9"), "0ebe813f4a230e7a")]
)
def test_restore_job_measures_as_it_always_has(task: str, expected: str) -> None:
    images = data.load("fashion-mini", "train").take([3, 1])
    case, _ = degrade_job(RestoreJob(task, "fashion-mini", 7, "dip"), images, torch.device("cpu"))
    assert digest(case.y, case.degradation) == expected
    assert case.seed == 6633127802144904708


def test_dip_result_bank_measures_as_it_always_has() -> None:
    images = data.load("fashion-mini", "train").take([3, 1])
    case = DipResultBank(images, parse_task(TASK), DipConfig(), seed=7).measurements()
    assert digest(case.y, case.degradation) == "5773b7f794ecf7d5"
