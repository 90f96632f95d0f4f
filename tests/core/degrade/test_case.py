from __future__ import annotations

import hashlib

import pytest
import torch
from torch import Tensor

from dipddpm.core import data
from dipddpm.core.config import DipRun, HybridRun, build, parse_task
from dipddpm.core.degrade import Degradation
from dipddpm.core.degrade.case import Case
from dipddpm.core.experiments.dip import DipExperiment
from dipddpm.core.experiments.dip_cache import measure
from dipddpm.core.experiments.hybrid import HybridExperiment
from dipddpm.core.experiments.restore.cell import RestoreJob, degrade_job

# This task has uniform random draws only, which have the same bits on every CPU; normal draws need not.
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
    """Return a hash of measurements and masks."""
    return hashlib.sha256(torch.stack([y, degradation.operator.measured(y)]).numpy().tobytes()).hexdigest()[:16]


def test_dip_experiment_measurements_never_change() -> None:
    config = build("dip", task=TASK, settings=SETTINGS)
    assert isinstance(config, DipRun)
    batch = DipExperiment.from_config(config, "cpu").fit.batches[0]
    assert digest(batch.y, batch.degradation) == "f0430875d79edfc9"


def test_hybrid_experiment_measurements_never_change() -> None:
    config = build("hybrid", method="self-diffusion", task=TASK, settings=SETTINGS)
    assert isinstance(config, HybridRun)
    case = HybridExperiment.from_config(config, "cpu").case
    assert digest(case.y, case.degradation) == "f0430875d79edfc9"
    assert case.seed == 6633127802144904708


@pytest.mark.parametrize(
    ("task", "expected"), [(TASK, "a130fcd53fb1492a"), (TASK.replace("missing=0.5", "box=9"), "0ebe813f4a230e7a")]
)
def test_restore_job_measurements_never_change(task: str, expected: str) -> None:
    images = data.load("fashion-mini", "train").take([3, 1])
    case, _ = degrade_job(RestoreJob(task, "fashion-mini", 7, "dip"), images, torch.device("cpu"))
    assert digest(case.y, case.degradation) == expected
    assert case.seed == 6633127802144904708


def test_dip_result_bank_measurements_never_change() -> None:
    images = data.load("fashion-mini", "train").take([3, 1])
    case = measure(images, parse_task(TASK), 7)
    assert digest(case.y, case.degradation) == "5773b7f794ecf7d5"


def test_case_measurement_of_image_depends_on_label_seed_and_purpose_only() -> None:
    truth = torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    together = Case.of(truth, parse_task(TASK), ["a", "b", "c"], 5)
    alone = Case.of(truth[1:2], parse_task(TASK), ["b"], 5)
    assert torch.equal(together.y[1:2], alone.y)
    assert (together.shape, together.seed) == ((3, 1, 9, 9), alone.seed)
    others = [
        Case.of(truth[1:2], parse_task(TASK), ["c"], 5),
        Case.of(truth[1:2], parse_task(TASK), ["b"], 6),
        Case.of(truth[1:2], parse_task(TASK), ["b"], 5, purpose="bank measurement"),
    ]
    assert not any(torch.equal(other.y, alone.y) for other in others)
