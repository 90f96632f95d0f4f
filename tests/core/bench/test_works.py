from __future__ import annotations

import pytest
import torch

from dipddpm.core.bench import works
from dipddpm.core.config import HYBRIDS
from dipddpm.core.runs import reference

CPU = torch.device("cpu")
SHIPPED = reference.FOLDER
"""Where the runs that ship are, before a test hides them."""


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs that ship can be seen."""
    monkeypatch.setattr(reference, "FOLDER", SHIPPED)


def test_a_training_takes_the_steps_that_it_counts() -> None:
    items = works.training_of("tutorial", None, {}, CPU)
    steps = [next(items).step for _ in range(2)]  # type: ignore[attr-defined]
    assert steps == [1, 2]
    work = next(works.training(CPU))
    assert (work.part, work.name, work.units) == ("training", "tutorial, float32", 2 * 128)


def test_dip_is_measured_by_how_many_images_are_fitted_together() -> None:
    found = list(works.fitting(CPU))
    forms = ("", ", bfloat16", ", compiled", ", bfloat16, compiled")
    tens = [f"10 images at once{form}" for form in forms]
    assert [work.name for work in found] == ["1 image at once", *tens, "50 images at once"]
    assert [work.precision for work in found[1:5]] == ["float32", "bfloat16"] * 2
    assert [work.counted is not None for work in found[1:5]] == [False, False, True, True]
    found[1].run()
    assert found[3].counted is not None
    found[3].counted()  # what is compiled is counted without being compiled


def test_sampling_is_measured_by_evaluations(shipped: None) -> None:
    found = list(works.sampling(CPU))
    forms = [f"dpm++, {nfe} NFE{form}" for nfe in (5, 10, 20, 50) for form in ("", ", compiled")]
    assert [work.name for work in found] == forms


def test_every_method_that_restores_is_measured(shipped: None) -> None:
    names = {work.name for work in works.restoring(CPU)}
    assert names == {"dip", "ddpm", *(name for name, method in HYBRIDS.items() if method().restorer_path)}
