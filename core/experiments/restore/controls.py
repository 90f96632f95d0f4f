"""What hybrids are compared with, beside their parents at equal time: methods that take the time that they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from dipddpm.core.config import DipConfig
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.classical import filters
from dipddpm.core.methods.classical.closed_form import ClosedFormRestorer
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer

STEPS = (10, 20, 100)
"""Evaluations of the network that the samplers are given."""
RestorerFactory: TypeAlias = Callable[[Case], Restorer]


def controls(prior: TrainedModel, dip: DipConfig) -> dict[str, RestorerFactory]:
    """By name: A+ y, a classic, DIP at its truth-free stop, and DDNM+ and DiffPIR with few and with many steps."""
    factories: dict[str, RestorerFactory] = {
        "pinv": lambda case: ClosedFormRestorer(case, lambda c: c.degradation.operator.pinv(c.y)),
        "classic": lambda case: ClosedFormRestorer(case, filters.restore_classic),
        "dip": lambda case: DipRestorer(case, dip),
    }
    for method in ("ddnm", "diffpir"):
        for steps in STEPS:
            factories[f"{method}-{steps}"] = _sampler_factory(prior, method, min(steps, len(prior.schedule)))
    return factories


def _sampler_factory(prior: TrainedModel, method: str, steps: int) -> RestorerFactory:
    return lambda case: DdpmRestorer(case, prior, method=method, steps=steps)
