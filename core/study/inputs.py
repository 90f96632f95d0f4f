"""What the filters and small networks are given in place of xt, by the names of `dipddpm.core.study.findings`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.config.study import ExplanationConfig
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.study import findings
from dipddpm.core.study.dip_outputs import DipStepBank, Noised

BANDS = 5
"""Equal parts of the timesteps: so many that each has test images enough."""
WINDOW = 9
"""Side of the neighbourhood that the filter sees, in pixels."""
RIDGE = 1e-4
"""Of the features' mean square: enough for outputs that are constant, too little to move what can be told."""


@dataclass(frozen=True)
class NetworkInput:
    """One kind of input: its name, how many networks learn from it, and whether they are asked for x0 and not eps."""

    name: str
    seeds: int = 1
    predicts_x0: bool = False

    def target(self, noised: Noised) -> Tensor:
        """What a network is asked for."""
        return noised.x0 if self.predicts_x0 else noised.eps


def plan(options: ExplanationConfig) -> list[NetworkInput]:
    """Every input, in the order in which they are looked at."""
    spread = {findings.XT, findings.after(options.fixed)}
    names = [findings.XT, findings.CLIPPED, findings.X0, *map(findings.after, options.counts())]
    names += [findings.DISCREPANCY, findings.BUDGET, findings.BESIDE]
    eps = [NetworkInput(name, options.seeds if name in spread else 1) for name in names]
    return [
        *eps,
        NetworkInput(findings.X0_FROM_XT, predicts_x0=True),
        NetworkInput(findings.X0_FROM_DIP, predicts_x0=True),
    ]


class InputViews:
    """The inputs of a bank. `learned_from` is the bank of training images, which an adaptation to t is chosen on."""

    def __init__(self, training_bank: DipStepBank, schedule: Schedule, fixed: int) -> None:
        self.training_bank = training_bank
        self.schedule = schedule
        self.fixed = fixed
        self._by_band: Tensor | None = None

    def of(self, name: str, bank: DipStepBank) -> Tensor:
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
                first = bank.outputs_at(self.choice(name, bank))
            case findings.BESIDE:
                return torch.cat([noised.xt, bank.outputs_after(self.fixed)], 1)
            case findings.X0_FROM_DIP:
                first = bank.outputs_after(self.fixed)
            case _:
                first = bank.outputs_after(int(name.removeprefix(findings.after(0)[:-1])))
        return torch.cat([first, first], 1)

    def choice(self, name: str, bank: DipStepBank) -> Tensor:
        """For each image of a bank the place of its k, adapted to t in one of the two ways."""
        if name == findings.DISCREPANCY:
            return by_noise_level(bank, self.schedule)
        if self._by_band is None:
            length = len(self.schedule)
            self._by_band = best_within_budget(band_losses(self.training_bank, length), bank.steps, self.fixed)
        return self._by_band[bands_of(bank.noised.t, len(self.schedule))]


def bands_of(t: Tensor, length: int) -> Tensor:
    """In which part of the timesteps each t lies, the least noisy being 0."""
    return t * BANDS // length


def by_noise_level(bank: DipStepBank, schedule: Schedule) -> Tensor:
    """Where DIP has taken as much from xt as the noise put in: |DIP_k(xt) - xt|^2 nearest to 1 - alpha_bar_t.

    The discrepancy principle, told t: what a denoiser that knows the timestep should do.
    """
    removed = (bank.outputs - bank.noised.xt).square().flatten(2).mean(2)
    noise = (1 - schedule.alpha_bar.to(removed))[bank.noised.t]
    return (removed / noise).log().abs().argmin(0)


def band_losses(bank: DipStepBank, length: int) -> Tensor:
    """1 - R^2 of the best linear filter for each part of the timesteps and each k, (bands, k), on one bank alone."""
    bands = bands_of(bank.noised.t, length)
    losses = torch.ones(BANDS, len(bank.steps))
    for band in range(BANDS):
        inside = bands == band
        for index, output in enumerate(bank.outputs):
            share = predictable_share(output[inside], bank.noised.eps[inside], int(inside.sum()) // 2)
            losses[band, index] = 1 - share
    return losses


def best_within_budget(losses: Tensor, steps: tuple[int, ...], budget: int) -> Tensor:
    """The place of a k for each part of the timesteps: the least mean loss whose mean k is at most `budget`.

    `losses` is (bands, k). Exact: the least sum for every total of steps, part by part.
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    most = budget * len(losses)
    for row in losses.tolist():
        longer: dict[int, tuple[float, tuple[int, ...]]] = {}
        for steps_used, (loss, indices) in best.items():
            for index, (count, own) in enumerate(zip(steps, row, strict=True)):
                total = steps_used + count
                if total <= most and loss + own < longer.get(total, (math.inf, ()))[0]:
                    longer[total] = (loss + own, (*indices, index))
        best = longer
    return torch.tensor(min(best.values())[1])


def predictable_share(inputs: Tensor, targets: Tensor, fitted: int) -> float:
    """R^2 of the best linear filter from `given` to `wanted`, both (N, C, H, W), of one channel wanted.

    Each pixel of `wanted` is predicted from the 9x9 pixels of `given` around it, and a constant, by ridge regression
    (float64) over all pixels of the first `fitted` images; R^2 = 1 - SSE / SST is that of all pixels of the others,
    SST being about the mean of the fitted ones. 0 says that nothing can be told, 1 that everything can; where nothing
    can, chance makes it a little less than 0.
    """
    a, b = _features(inputs[:fitted]), targets[:fitted].double().reshape(-1)
    mean = b.mean()
    gram = a.T @ a
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    coefficients = torch.linalg.solve(gram, a.T @ (b - mean))
    test_targets = targets[fitted:].double().reshape(-1) - mean
    error = (_features(inputs[fitted:]) @ coefficients - test_targets).square().sum()
    return float(1 - error / test_targets.square().sum())


def _features(images: Tensor) -> Tensor:
    """A row for each pixel: its neighbourhood, zeros beyond the border, and 1."""
    rows = F.unfold(images.double(), WINDOW, padding=WINDOW // 2).transpose(1, 2).flatten(0, 1)
    return F.pad(rows, (0, 1), value=1.0)
