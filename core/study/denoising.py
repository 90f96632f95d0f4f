"""The study's comparison of denoised images in numbers: DDPM alone against the hybrid on the same noised images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dipddpm.core.data import ImageSet
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.dip.hourglass import FittedHourglass
from dipddpm.core.events import Pictures
from dipddpm.core.images import clip_visibly, to_unit
from dipddpm.core.metrics import samples
from dipddpm.core.metrics.image import psnr, ssim
from dipddpm.core.study.dip_outputs import Noised
from dipddpm.core.study.findings import DDPM_ALONE, DIP_ALONE, NOISY, SUBSTITUTION, Denoised
from dipddpm.core.study.trial import predict

SIGMAS = (25.0, 50.0)
"""Noise levels at which images are denoised, in 8-bit grey levels."""
SHOWN = 8
"""Number of images in the picture."""


def denoise(
    images: ImageSet,
    networks: dict[str, nn.Module],
    hourglass: FittedHourglass,
    *,
    steps: int,
    schedule: Schedule,
    seed: int,
) -> tuple[list[Denoised], Pictures]:
    """Add noise at each sigma and denoise in one step, x0 = (xt - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar).

    Returns the mean scores of each method at each sigma, and a picture.
    `networks` maps each method to the network that predicts its eps: `DDPM_ALONE` from xt, `SUBSTITUTION` from
    DIP(xt). Both methods subtract eps from xt. The shipped classifier measures the accuracy. The picture shows the
    first images at the first sigma, a row each: the measurement, DDPM alone, the hybrid, the truth.
    """
    scores, shown = [], None
    truth = to_unit(images.images)
    for sigma in SIGMAS:
        t = schedule.timestep(sigma / 255)
        noised = Noised.of(images.images, schedule, seed, t)
        parts = torch.split(noised.xt, hourglass.batch_size)
        dip_output = torch.cat([output for part in parts for output in hourglass.fit_outputs(part, [steps])])
        level = schedule.alpha_sigma(t)[0]
        results = {
            NOISY: noised.xt / level,
            DIP_ALONE: dip_output / level,
            DDPM_ALONE: _x0(noised, networks[DDPM_ALONE], noised.xt, schedule),
            SUBSTITUTION: _x0(noised, networks[SUBSTITUTION], dip_output, schedule),
        }
        units = {method: to_unit(result) for method, result in results.items()}
        scores += [_scored(sigma, method, result, truth, images.labels) for method, result in units.items()]
        shown = shown or [units[NOISY], units[DDPM_ALONE], units[SUBSTITUTION], truth]
    assert shown is not None
    rows = torch.stack([column[:SHOWN] for column in shown], 1).flatten(0, 1)
    return scores, Pictures(
        name="denoised",
        images=clip_visibly(rows),
        title=f"Denoised in one step, sigma {SIGMAS[0]:g}",
        columns=8,
        panels=("measured", DDPM_ALONE, SUBSTITUTION, "truth"),
    )


def _x0(noised: Noised, network: nn.Module, inputs: Tensor, schedule: Schedule) -> Tensor:
    eps = predict(network, torch.cat([inputs, inputs], 1), noised.t)
    return schedule.predict_x0(noised.xt, eps, noised.t)


def _scored(sigma: float, method: str, result: Tensor, truth: Tensor, labels: Tensor) -> Denoised:
    return Denoised(
        sigma=sigma,
        method=method,
        psnr=float(psnr(result, truth).mean()),
        ssim=float(ssim(result, truth).mean()),
        accuracy=samples.load_classifier().accuracy(result.clamp(0, 1), labels),
    )
