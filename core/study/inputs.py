"""Inputs of the linear filters and small networks, under the names that `dipddpm.core.study.findings` defines."""

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
"""Number of equal parts of the timesteps; each part still has enough test images."""
WINDOW = 9
"""Side of the filter's neighbourhood, in pixels."""
RIDGE = 1e-4
"""Ridge penalty as a share of the features' mean square: it handles constant outputs and barely changes R^2."""


@dataclass(frozen=True)
class NetworkInput:
    """One kind of input: its name, how many networks are trained on it, and whether they predict x0 or eps."""

    name: str
    seeds: int = 1
    predicts_x0: bool = False

    def target(self, noised: Noised) -> Tensor:
        """Return the images that a network must predict."""
        return noised.x0 if self.predicts_x0 else noised.eps


def plan(options: ExplanationConfig) -> list[NetworkInput]:
    """Return every input, in the order in which the experiments run."""
    spread = {findings.XT, findings.after(options.fixed)}
    names = [findings.XT, findings.CLIPPED, findings.X0, *map(findings.after, options.counts())]
    names += [findings.DISCREPANCY, findings.BUDGET, findings.XT_WITH_DIP]
    eps = [NetworkInput(name, options.seeds if name in spread else 1) for name in names]
    return [
        *eps,
        NetworkInput(findings.X0_FROM_XT, predicts_x0=True),
        NetworkInput(findings.X0_FROM_DIP, predicts_x0=True),
    ]


class InputViews:
    """The inputs made from a bank's images. The k adapted to t are chosen on `training_bank` alone."""

    def __init__(self, training_bank: DipStepBank, schedule: Schedule, fixed: int) -> None:
        self.training_bank = training_bank
        self.schedule = schedule
        self.fixed = fixed
        self._by_band: Tensor | None = None

    def of(self, name: str, bank: DipStepBank) -> Tensor:
        """Return an input of all images of a bank, (N, 2, H, W): one channel twice, or two different channels."""
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
            case findings.XT_WITH_DIP:
                return torch.cat([noised.xt, bank.outputs_after(self.fixed)], 1)
            case findings.X0_FROM_DIP:
                first = bank.outputs_after(self.fixed)
            case _:
                first = bank.outputs_after(int(name.removeprefix(findings.after(0)[:-1])))
        return torch.cat([first, first], 1)

    def choice(self, name: str, bank: DipStepBank) -> Tensor:
        """Return the index into `bank.steps` of each image's k, adapted to t; `name` is `DISCREPANCY` or `BUDGET`."""
        if name == findings.DISCREPANCY:
            return by_noise_level(bank, self.schedule)
        if self._by_band is None:
            length = len(self.schedule)
            self._by_band = best_within_budget(band_losses(self.training_bank, length), bank.steps, self.fixed)
        return self._by_band[bands_of(bank.noised.t, len(self.schedule))]


def bands_of(t: Tensor, length: int) -> Tensor:
    """Return the part of the timesteps in which each t lies; part 0 is the least noisy."""
    return t * BANDS // length


def by_noise_level(bank: DipStepBank, schedule: Schedule) -> Tensor:
    """Return each image's index into `bank.steps` for which |DIP_k(xt) - xt|^2 is nearest to 1 - alpha_bar_t.

    This is the discrepancy principle with a known noise level: DIP stops once it has removed as much as there is noise.
    """
    removed = (bank.outputs - bank.noised.xt).square().flatten(2).mean(2)
    noise = (1 - schedule.alpha_bar.to(removed))[bank.noised.t]
    return (removed / noise).log().abs().argmin(0)


def band_losses(bank: DipStepBank, length: int) -> Tensor:
    """Return 1 - R^2 of the best linear filter for each part of the timesteps and each k, (bands, k), on one bank."""
    bands = bands_of(bank.noised.t, length)
    losses = torch.ones(BANDS, len(bank.steps))
    for band in range(BANDS):
        inside = bands == band
        for index, output in enumerate(bank.outputs):
            share = predictable_share(output[inside], bank.noised.eps[inside], int(inside.sum()) // 2)
            losses[band, index] = 1 - share
    return losses


def best_within_budget(losses: Tensor, steps: tuple[int, ...], budget: int) -> Tensor:
    """Return the index of a k for each part of the timesteps: the smallest mean loss with a mean k of at most `budget`.

    `losses` is (bands, k). Dynamic programming over the total number of steps makes the result exact.
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
    """Return R^2 of the best linear filter from `inputs`, (N, C, H, W), to `targets`, (N, 1, H, W).

    Ridge regression in float64 over all pixels of the first `fitted` images predicts each target pixel from a constant
    and the 9x9 input pixels around it. R^2 = 1 - SSE / SST is measured on all pixels of the other images, where SST is
    taken about the mean of the fitted targets. 1 means that the targets are fully predictable, 0 that they aren't at
    all; R^2 of unpredictable targets is by chance a little below 0.
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
    """Return a row for each pixel: its neighbourhood, with zeros beyond the border, and a 1."""
    rows = F.unfold(images.double(), WINDOW, padding=WINDOW // 2).transpose(1, 2).flatten(0, 1)
    return F.pad(rows, (0, 1), value=1.0)
