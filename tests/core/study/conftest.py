"""Explanations with chosen numbers, for tests of the answers and of the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dipddpm.core.study import findings
from dipddpm.core.study.findings import BaselineResult, Denoised, Explanation, TrainResult, after


def train_result(loss: float, *, spread: float = 0.4, spikes: int = 0) -> TrainResult:
    return TrainResult(
        loss=loss,
        curve=[loss + 0.1, loss],
        training=[loss + 0.2, loss],
        bands=[loss] * 5,
        gradient=0.2,
        gradient_spread=spread,
        spikes=spikes,
        steps=100,
    )


def baseline_result(spread: float, response: float | None = None) -> BaselineResult:
    return BaselineResult(
        losses=[] if response is None else [0.0649, 0.0673],
        spread=spread,
        contrast=0.77,
        frechet=4 * spread,
        kernel=0.5,
        own_range_frechet=18.13,
        own_range_kernel=0.45,
        response=response,
    )


@pytest.fixture(scope="session")
def explained() -> Callable[..., Explanation]:
    """Return a maker of explanations: the given losses, and a failed hybrid's numbers for all others."""

    def build(losses: dict[str, float] | None = None, **hybrid: Any) -> Explanation:
        steps, fixed = [0, 10, 50, 200], after(50)
        known = {findings.XT: 0.075, findings.CLIPPED: 0.16, findings.X0: 1.0}
        known |= dict(zip(map(after, steps), (1.0, 0.98, 0.82, 0.42), strict=True))
        known |= {findings.DISCREPANCY: 0.966, findings.BUDGET: 0.73, findings.XT_WITH_DIP: 0.076}
        known |= {findings.X0_FROM_XT: 0.2125, findings.X0_FROM_DIP: 0.2367} | (losses or {})
        networks = {name: [train_result(loss)] for name, loss in known.items()}
        networks[findings.XT] = [train_result(known[findings.XT] + off) for off in (-0.001, 0, 0.001)]
        networks[fixed] = [train_result(known[fixed] + off, **hybrid) for off in (-0.002, 0, 0.002)]
        return Explanation(
            train_images=640,
            test_images=200,
            epochs=2,
            steps=steps,
            fixed=50,
            seeds=3,
            bands=5,
            distance={after(k): 1 / (k + 1) for k in steps},
            linear={name: [1 - loss] * 5 for name, loss in known.items() if not name.startswith("x0 from")},
            trained=networks,
            chosen={findings.DISCREPANCY: [200, 50, 10, 10, 10], findings.BUDGET: [0, 0, 0, 50, 200]},
            baseline={
                findings.REAL: baseline_result(0.25),
                findings.AS_PUBLISHED: baseline_result(7.54, 0.0),
                findings.WITHOUT_NORM: baseline_result(4.98, 0.13),
                findings.MEAN_GIVEN_BACK: baseline_result(0.26, 0.998),
            },
            baseline_images=2000,
            baseline_epochs=20,
            baseline_samples=256,
            denoised=[Denoised(sigma=25, method=findings.DDPM_ALONE, psnr=26.2231, ssim=0.8699, accuracy=0.875)],
        )

    return build
