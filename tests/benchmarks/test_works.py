from __future__ import annotations

import pytest
import torch

from benchmarks import works
from dipddpm.core.config import HYBRIDS
from dipddpm.core.runs import reference

CPU = torch.device("cpu")
REFERENCE_RUNS = reference.FOLDER
"""The folder before a test hides it."""


@pytest.fixture
def reference_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run `reference` is where it ships."""
    monkeypatch.setattr(reference, "FOLDER", REFERENCE_RUNS)


def test_fitting_varies_images_precision_and_compilation() -> None:
    found = list(works.fitting(CPU))
    forms = ("", ", bfloat16", ", compiled", ", bfloat16, compiled")
    tens = [f"10 images at once{form}" for form in forms]
    assert [work.name for work in found] == ["1 image at once", *tens, "50 images at once"]
    assert [work.precision for work in found[1:5]] == ["float32", "bfloat16"] * 2
    assert [work.counted is not None for work in found[1:5]] == [False, False, True, True]
    found[1].run()
    assert found[3].counted is not None
    found[3].counted()  # compiled work is counted in its uncompiled form


def test_sampling_varies_evaluations_and_compilation(reference_prior: None) -> None:
    found = list(works.sampling(CPU))
    forms = [f"dpm++, {nfe} NFE{form}" for nfe in (5, 10, 20, 50) for form in ("", ", compiled")]
    assert [work.name for work in found] == forms


def test_restoring_covers_every_method_that_restores(reference_prior: None) -> None:
    names = {work.name for work in works.restoring(CPU)}
    assert names == {"dip", "ddpm", *(name for name, method in HYBRIDS.items() if method().restorer_path)}
