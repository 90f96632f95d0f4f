"""What a hybrid's parents do with the time that it took: DIP restarts, the diffusion model draws samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.config import DipConfig
from core.ddpm.trained import TrainedModel
from core.hybrid.parents import DdpmRestorer, DipRestorer, diffusion_for
from core.hybrid.restorer import Case, Restorer
from core.hybrid.timed import Budgeted, Clock
from core.scores import DDPM_MEAN, DIP_MEAN, POSTERIOR_MEAN

SAMPLES = ("ddnm", 100)
"""Method and steps of the samples that are averaged where the posterior mean in one step serves the task best."""


def parents(
    case: Case, prior: TrainedModel | None, dip: DipConfig, *, budgets: Sequence[float], clock: Clock
) -> dict[str, Budgeted]:
    """The parents by name, each with the same budgets of seconds; without a prior there is only DIP.

    The posterior mean in one step, where it serves, would be the same each time, and is run once.
    """

    def fits(count: int, seed: int) -> Restorer:
        return DipRestorer(replace(case, seed=seed), dip, restarts=count)

    found = {DIP_MEAN: Budgeted(fits, budgets, seed=case.seed, clock=clock)}
    if prior is None:
        return found
    single = diffusion_for(case.degradation).method == POSTERIOR_MEAN
    method, steps = SAMPLES if single else ("", 0)

    def samples(count: int, seed: int) -> Restorer:
        return DdpmRestorer(replace(case, seed=seed), prior, method=method, steps=steps, samples=count)

    def once(count: int, seed: int) -> Restorer:
        return DdpmRestorer(replace(case, seed=seed), prior, samples=count)

    found[DDPM_MEAN] = Budgeted(samples, budgets, seed=case.seed, clock=clock)
    if single:
        found[POSTERIOR_MEAN] = Budgeted(once, [0.0], seed=case.seed, clock=clock)
    return found
