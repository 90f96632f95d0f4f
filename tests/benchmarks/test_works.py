from __future__ import annotations

import pytest
import torch

from benchmarks import works
from dipddpm.core.config import HYBRIDS
from dipddpm.core.runs import reference

CPU = torch.device("cpu")
REFERENCE_RUNS = reference.FOLDER
"""The folder of the shipped runs, which the other tests hide."""


@pytest.fixture
def reference_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the run `reference` available from the folder in which it ships."""
    monkeypatch.setattr(reference, "FOLDER", REFERENCE_RUNS)


def test_fitting_varies_images_precision_and_compilation() -> None:
    fits = list(works.fitting(CPU))
    forms = ("", ", bfloat16", ", compiled", ", bfloat16, compiled")
    tens = [f"10 images at once{form}" for form in forms]
    assert [work.name for work in fits] == ["1 image at once", *tens, "50 images at once"]
    assert [work.precision for work in fits[1:5]] == ["float32", "bfloat16"] * 2
    assert [work.counted is not None for work in fits[1:5]] == [False, False, True, True]
    fits[1].run()
    assert fits[3].counted is not None
    fits[3].counted()  # the operations of compiled work are counted in the uncompiled form


def test_sampling_varies_evaluations_and_compilation(reference_prior: None) -> None:
    samplings = list(works.sampling(CPU))
    forms = [f"dpm++, {nfe} NFE{form}" for nfe in (5, 10, 20, 50) for form in ("", ", compiled")]
    assert [work.name for work in samplings] == forms


def test_restoring_covers_every_method_with_restorer(reference_prior: None) -> None:
    names = {work.name for work in works.restoring(CPU)}
    assert names == {"dip", "ddpm", *(name for name, method in HYBRIDS.items() if method().restorer_path)}
