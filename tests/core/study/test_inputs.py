from __future__ import annotations

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.config import DdpmConfig, Substitution
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.study.dip_outputs import DipStepBank, Noised
from dipddpm.core.study.inputs import best_within_budget, by_noise_level

STEPS = (0, 2, 5, 10)
LOSSES = st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=3, max_size=3)


@given(LOSSES, st.integers(0, 12))
def test_best_within_budget_is_optimal(losses: list[list[float]], budget: int) -> None:
    best = best_within_budget(torch.tensor(losses, dtype=torch.float64), STEPS, budget).tolist()
    allowed = [
        indices
        for indices in itertools.product(range(4), repeat=3)
        if sum(STEPS[index] for index in indices) <= budget * 3
    ]
    assert tuple(best) in allowed
    totals = [sum(row[index] for row, index in zip(losses, indices, strict=True)) for indices in allowed]
    assert sum(row[index] for row, index in zip(losses, best, strict=True)) <= min(totals) + 1e-12


def test_by_noise_level_stops_where_noise_is_removed() -> None:
    schedule = Schedule.from_config(DdpmConfig())
    images = torch.zeros(5, 1, 12, 12, dtype=torch.uint8)
    noised = Noised.of(images, schedule, seed=0)
    bank = DipStepBank(noised, Substitution(reading="fresh", channels=4), STEPS, batch_size=5, seed=0)
    expected = torch.tensor([0, 1, 2, 3, 1])
    std = (1 - schedule.alpha_bar[noised.t]).sqrt().float().view(-1, 1, 1, 1)
    for index in range(len(STEPS)):
        # At the expected k DIP removes as much as there is noise, at every other k three times or a third as much.
        factor = torch.where(expected == index, 1.0, torch.where(expected > index, 3.0, 1 / 3)).view(-1, 1, 1, 1)
        bank.outputs[index] = noised.xt - std * factor
    assert torch.equal(by_noise_level(bank, schedule), expected)
