"""What the filters and small networks are given in place of xt, by the names of `core.study.findings`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.config.study import ExplanationConfig
from core.ddpm.schedule import Schedule
from core.study import findings
from core.study.bank import Bank, Noised
from core.study.linear import predictable_share

BANDS = 5
"""Equal parts of the timesteps: so many that each has test images enough."""


@dataclass(frozen=True)
class Input:
    """One kind of input: its name, how many networks learn from it, and whether they are asked for x0 and not eps."""

    name: str
    seeds: int = 1
    asks_x0: bool = False

    def wanted(self, noised: Noised) -> Tensor:
        """What a network is asked for."""
        return noised.x0 if self.asks_x0 else noised.eps


def plan(options: ExplanationConfig) -> list[Input]:
    """Every input, in the order in which they are looked at."""
    spread = {findings.XT, findings.after(options.fixed)}
    names = [findings.XT, findings.CLIPPED, findings.X0, *map(findings.after, options.counts())]
    names += [findings.DISCREPANCY, findings.BUDGET, findings.BESIDE]
    eps = [Input(name, options.seeds if name in spread else 1) for name in names]
    return [*eps, Input(findings.X0_FROM_XT, asks_x0=True), Input(findings.X0_FROM_DIP, asks_x0=True)]


class Views:
    """The inputs of a bank. `learned_from` is the bank of training images, which an adaptation to t is chosen on."""

    def __init__(self, learned_from: Bank, schedule: Schedule, fixed: int) -> None:
        self.learned_from = learned_from
        self.schedule = schedule
        self.fixed = fixed
        self._by_band: Tensor | None = None

    def of(self, name: str, bank: Bank) -> Tensor:
        """(N, 2, H, W): one input twice, or two of them."""
        noised = bank.noised
        match name:
            case findings.XT | findings.X0_FROM_XT:
                first = noised.xt
            case findings.CLIPPED:
                first = noised.xt.clamp(-1, 1)
            case findings.X0:
                first = noised.x0
            case findings.DISCREPANCY | findings.BUDGET:
                first = bank.chosen(self.choice(name, bank))
            case findings.BESIDE:
                return torch.cat([noised.xt, bank.after(self.fixed)], 1)
            case findings.X0_FROM_DIP:
                first = bank.after(self.fixed)
            case _:
                first = bank.after(int(name.removeprefix(findings.after(0)[:-1])))
        return torch.cat([first, first], 1)

    def choice(self, name: str, bank: Bank) -> Tensor:
        """For each image of a bank the place of its k, adapted to t in one of the two ways."""
        if name == findings.DISCREPANCY:
            return by_noise_level(bank, self.schedule)
        if self._by_band is None:
            length = len(self.schedule)
            self._by_band = best_within_budget(band_losses(self.learned_from, length), bank.steps, self.fixed)
        return self._by_band[bands_of(bank.noised.t, len(self.schedule))]


def bands_of(t: Tensor, length: int) -> Tensor:
    """In which part of the timesteps each t lies, the least noisy being 0."""
    return t * BANDS // length


def by_noise_level(bank: Bank, schedule: Schedule) -> Tensor:
    """Where DIP has taken as much from xt as the noise put in: |DIP_k(xt) - xt|^2 nearest to 1 - alpha_bar_t.

    The discrepancy principle, told t: what a denoiser that knows the timestep should do.
    """
    removed = (bank.outputs - bank.noised.xt).square().flatten(2).mean(2)
    noise = (1 - schedule.alpha_bar.to(removed))[bank.noised.t]
    return (removed / noise).log().abs().argmin(0)


def band_losses(bank: Bank, length: int) -> Tensor:
    """1 - R^2 of the best linear filter for each part of the timesteps and each k, (bands, k), on one bank alone."""
    bands = bands_of(bank.noised.t, length)
    losses = torch.ones(BANDS, len(bank.steps))
    for band in range(BANDS):
        inside = bands == band
        for place, output in enumerate(bank.outputs):
            share = predictable_share(output[inside], bank.noised.eps[inside], int(inside.sum()) // 2)
            losses[band, place] = 1 - share
    return losses


def best_within_budget(losses: Tensor, steps: tuple[int, ...], budget: int) -> Tensor:
    """The place of a k for each part of the timesteps: the least mean loss whose mean k is at most `budget`.

    `losses` is (bands, k). Exact: the least sum for every total of steps, part by part.
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    most = budget * len(losses)
    for row in losses.tolist():
        longer: dict[int, tuple[float, tuple[int, ...]]] = {}
        for spent, (loss, places) in best.items():
            for place, (count, own) in enumerate(zip(steps, row, strict=True)):
                total = spent + count
                if total <= most and loss + own < longer.get(total, (math.inf, ()))[0]:
                    longer[total] = (loss + own, (*places, place))
        best = longer
    return torch.tensor(min(best.values())[1])
