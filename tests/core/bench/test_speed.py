from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from dipddpm.core.bench import speed
from dipddpm.core.bench.rates import Work
from dipddpm.core.config import DipConfig
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.events import Step
from dipddpm.core.runs import reference

CPU = torch.device("cpu")
REFERENCE_RUNS = reference.FOLDER
"""The folder of reference runs, stored before a fixture replaces it."""


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """Return the standard workloads of a CPU, with fits of two iterations."""
    monkeypatch.setattr(reference, "FOLDER", REFERENCE_RUNS)
    monkeypatch.setattr(speed, "DipConfig", lambda: DipConfig(iterations=2, channels=4, scales=1))
    return list(speed.standard(CPU))


def test_standard_covers_training_dip_and_sampling(works: list[Work]) -> None:
    assert [(work.part, work.name, work.options) for work in works] == [
        ("training", "tutorial", ""),
        ("training", "tutorial", "--set ddpm.precision=bfloat16"),
        ("training", "U-Net", ""),
        ("training", "U-Net", "--set ddpm.precision=bfloat16"),
        ("dip", "10 images at once", ""),
        ("sampling", "reference", ""),
    ]
    assert all(work.waits for work in works)


def test_standard_sampling_counts_its_evaluations(works: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = 0

    class CountingSampling(Sampling):
        def __iter__(self) -> Iterator[Step]:
            nonlocal evaluated
            yield from super().__iter__()
            evaluated += self.nfe * len(self.xt)

    monkeypatch.setattr(speed, "Sampling", CountingSampling)
    works[-1].run()
    assert evaluated == works[-1].units == speed.SAMPLES * speed.HEUN_NFE


def test_standard_fit_runs(works: list[Work]) -> None:
    works[-2].run()


def test_training_of_takes_one_step_per_item_on_a_cpu() -> None:
    items = speed.training_of("tutorial", None, {}, CPU)
    first, second = next(items), next(items)
    assert isinstance(first, Step) and isinstance(second, Step)
    assert (first.step, second.step) == (1, 2)


def test_test_images_repeat_beyond_their_number() -> None:
    images = speed.test_images(501, CPU)
    assert images.shape == (501, 1, 28, 28)
    assert torch.equal(images[500], images[0])
