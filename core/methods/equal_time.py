"""What a hybrid's parents do with the time that it took: DIP restarts, the diffusion model draws samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dipddpm.core.config import DipConfig
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.evaluation.scoreboard import DDPM_MEAN, DIP_MEAN, POSTERIOR_MEAN
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.baselines import DdpmRestorer, DipRestorer, diffusion_for
from dipddpm.core.methods.budget import Clock, TimeBudget

SAMPLES = ("ddnm", 100)
"""Method and steps of the samples that are averaged where the posterior mean in one step serves the task best."""


def baselines(
    case: Case, prior: TrainedModel | None, dip: DipConfig, *, budgets: Sequence[float], clock: Clock
) -> dict[str, TimeBudget]:
    """The parents by name, each with the same budgets of seconds; without a prior there is only DIP.

    The posterior mean in one step, where it serves, would be the same each time, and is run once.
    """

    def fits(count: int, seed: int) -> Restorer:
        return DipRestorer(replace(case, seed=seed), dip, restarts=count)

    budgets_by_name = {DIP_MEAN: TimeBudget(fits, budgets, seed=case.seed, clock=clock)}
    if prior is None:
        return budgets_by_name
    single = diffusion_for(case.degradation).method == POSTERIOR_MEAN
    method, steps = SAMPLES if single else ("", 0)

    def samples(count: int, seed: int) -> Restorer:
        return DdpmRestorer(replace(case, seed=seed), prior, method=method, steps=steps, samples=count)

    def once(count: int, seed: int) -> Restorer:
        return DdpmRestorer(replace(case, seed=seed), prior, samples=count)

    budgets_by_name[DDPM_MEAN] = TimeBudget(samples, budgets, seed=case.seed, clock=clock)
    if single:
        budgets_by_name[POSTERIOR_MEAN] = TimeBudget(once, [0.0], seed=case.seed, clock=clock)
    return budgets_by_name
