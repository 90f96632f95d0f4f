"""What a network predicts, and how its error is weighed over time: from prediction to x0 and eps and back."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.core.config.ddpm import Objective, Weighting
from dipddpm.core.ddpm.schedule import Schedule, Timestep

MIN_SNR_GAMMA = 5.0
"""Where min-SNR weighting caps the signal-to-noise ratio (Hang et al. 2023, section 3.4)."""


def target(objective: Objective, schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """What the network should say of xt = `schedule.add_noise(x0, eps, t)`.

    v is sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (Salimans & Ho 2022, section 4).
    """
    if objective == "eps":
        return eps
    return x0 if objective == "x0" else schedule.velocity(x0, eps, t)


def split(
    objective: Objective, schedule: Schedule, xt: Tensor, predicted: Tensor, t: Timestep
) -> tuple[Tensor, Tensor]:
    """The estimates of x0 and eps that a prediction for xt stands for."""
    if objective == "eps":
        return schedule.predict_x0(xt, predicted, t), predicted
    if objective == "x0":
        return predicted, schedule.predict_eps(xt, predicted, t)
    return schedule.from_velocity(xt, predicted, t)


def weights(objective: Objective, weighting: Weighting, schedule: Schedule) -> Tensor | None:
    """The factor of the squared error at each timestep, float32 of shape (T,) on the CPU; None where all are 1.

    `plain` leaves the error of the objective as it is; `eps` makes it the error of eps, whatever is predicted, which
    is SNR times that of x0 and alpha_bar times that of v; `min-snr` is Hang et al. 2023, section 3.4: the error of x0
    times min(SNR, 5).
    """
    if weighting == "plain" or (objective, weighting) == ("eps", "eps"):
        return None
    alpha_bar = schedule.alpha_bar
    snr = alpha_bar / (1 - alpha_bar)
    of_x0 = snr if weighting == "eps" else snr.clamp(max=MIN_SNR_GAMMA)
    # The error of x0 is 1 / SNR times that of eps and (1 - alpha_bar) times that of v.
    own = {"eps": of_x0 / snr, "x0": of_x0, "v": of_x0 * (1 - alpha_bar)}[objective]
    return own.to(torch.float32)
