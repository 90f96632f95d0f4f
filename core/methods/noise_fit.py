"""The diffusion network as a deep image prior: the noise that DDIM steps begin at is fitted to the measurement."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import NoiseFit
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.solvers import Ddim
from dipddpm.core.ddpm.spacing import spacing
from dipddpm.core.ddpm.training import READ_EVERY
from dipddpm.core.degrade.case import Case
from dipddpm.core.events import Item, StateDict, Step
from dipddpm.core.images import to_unit
from dipddpm.core.methods.hold_out import hidden_values

BATCH = 64
"""Largest number of images whose gradient is computed at a time, since it needs the activations of all steps."""


class NoiseFitRestorer:
    """The mean of several fits of noise z by Adam, each from other noise and without another part of the measurements.

    "Weak diffusion priors can still achieve strong inverse-problem performance" (ICML 2026). The network is frozen. A
    few deterministic DDIM steps map z to an image x, and the loss is the mean of |A x - y|^p over the measurements that
    are not held out; p is 2, or 1 for salt-and-pepper noise. After each iteration z is scaled to the norm that noise of
    its size has, sqrt(d); unlike in the paper, the radial part of the gradient is left out, so that Adam rests at an
    optimum. The result of a fit is the latest of the `best` iterates, by their error at the held-out measurements,
    which are single values of y for every task.

    The paper has timesteps 2/3, 1/3 and 0 of T. The step at 0, where the network hardly changes its input, is left out:
    it takes a third of the time and changes the PSNR by less than 0.1 dB. The paper fits once, for 1,000 iterations of
    rate 0.01; see `NoiseFit` for what is used here. The noise level isn't used.

    All images of a fit share the first z and the random order in which values are held out, so an image is fitted as
    it would be alone with the same seed (up to rounding).
    """

    def __init__(self, case: Case, prior: TrainedModel, options: NoiseFit, dip: DipConfig) -> None:
        """Set up the fits; `dip` is ignored. Raises UserError for more steps than the prior has timesteps."""
        del dip
        self.case, self.options, self.denoiser = case, options, prior.denoiser()
        self.times = spacing(len(prior.schedule), options.steps + 1)[1:]
        """The timesteps that the DDIM steps start from, evenly spaced between T and 0, both excluded."""
        y, fits = case.y, options.fits
        n, *shape = case.shape
        indices = [*range(n)] * fits
        self.y, self.operator = y[indices], case.degradation.operator.select(indices)
        self.power = 1 if case.degradation.noise.kind == "salt-and-pepper" else 2
        self.generator = torch.Generator(y.device).manual_seed(derive(case.seed, "noise fit"))

        def draw(*size: int) -> Tensor:
            return torch.randn(size, generator=self.generator, device=y.device, dtype=y.dtype)

        z = draw(fits, 1, *shape).expand(fits, *case.shape).flatten(0, 1)
        self.z = on_sphere(z).requires_grad_()
        """The noise of all fits, fit by fit, (F N, C, H, W)."""
        order = draw(1, 1, *y.shape[2:])
        measured = case.degradation.operator.measured(y)
        hidden = torch.cat(hidden_values(measured[:, :1], order, options.held_out, fits)).to(y.dtype)
        self.hidden = hidden * measured[indices]
        self.fitted = measured[indices] - self.hidden
        self.adam = torch.optim.Adam([self.z], lr=options.lr)
        # Adam makes its state in the first step; a resume needs it before.
        self.adam.state[self.z] = {"step": torch.tensor(0.0)} | {
            name: torch.zeros_like(self.z) for name in ("exp_avg", "exp_avg_sq")
        }
        self.best = y.new_full((len(indices), options.best), torch.inf)
        """The lowest errors of each fit at held-out measurements so far, in rising order."""
        self.restored = torch.zeros_like(self.z, requires_grad=False)
        """The latest image of each fit that was among the best when it was made, (F N, C, H, W)."""
        self.step = 0

    def __len__(self) -> int:
        return self.options.iterations

    def __iter__(self) -> Iterator[Item]:
        every = 1 if self.z.device.type == "cpu" else READ_EVERY
        while self.step < len(self):
            loss = self._step()
            if self.step % every == 0 or self.step == len(self):
                yield Step(step=self.step, loss=float(loss.mean()))

    def generate(self, z: Tensor) -> Tensor:
        """Return the images (N, C, H, W), in [0, 1] but not clipped, that the DDIM steps make of noise z."""
        solver, x = Ddim(), z
        for t, t_next in zip(self.times, [*self.times[1:], -1], strict=True):
            x = solver.step(self.denoiser, x, t, t_next, self.generator)
        return to_unit(x)

    @property
    def images(self) -> Tensor:
        """The mean of the fits' results so far, (N, C, H, W), in [0, 1] but not clipped; zeros before the first."""
        return self._results.mean(0)

    @property
    def spread(self) -> Tensor | None:
        """The standard deviation of the fits' results, (N, C, H, W), divisor K - 1; None for a single fit."""
        return self._results.std(0) if self.options.fits > 1 and self.step else None

    @property
    def nfe(self) -> int:
        """Network evaluations for each image, summed over its fits; each gradient takes about as long as two more."""
        return self.iterations * len(self.times)

    @property
    def iterations(self) -> int:
        """Optimiser steps of the noise for each image, summed over its fits."""
        return self.step * self.options.fits

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the trained network; valid after a `Step`."""
        own = {"step": self.step, "z": self.z.detach(), "best": self.best, "restored": self.restored}
        return {**own, "adam": dict(self.adam.state[self.z])}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.step, self.best, self.restored = state["step"], state["best"].clone(), state["restored"].clone()
        self.z.data.copy_(state["z"])
        for name, value in self.adam.state[self.z].items():
            value.copy_(state["adam"][name])

    @property
    def _results(self) -> Tensor:
        return self.restored.view(self.options.fits, *self.case.shape)

    def _step(self) -> Tensor:
        """Do one iteration, and return the loss of each fit, (F N,)."""
        losses: list[Tensor] = []
        gradients: list[Tensor] = []
        for first in range(0, len(self.z), BATCH):
            rows = list(range(len(self.z))[first : first + BATCH])
            with torch.enable_grad():
                z = self.z.detach()[rows].requires_grad_()
                images = self.generate(z)
                error = self._error(images, rows)
                loss = _mean(error, self.fitted[rows])
                gradients += torch.autograd.grad(loss.sum(), z)
            losses.append(loss.detach())
            self._record(images.detach(), _mean(error.detach(), self.hidden[rows]), rows)
        self.z.grad = tangent(torch.cat(gradients), self.z.detach())
        self.adam.step()
        self.z.data = on_sphere(self.z.data)
        self.step += 1
        return torch.cat(losses)

    def _error(self, images: Tensor, rows: list[int]) -> Tensor:
        difference: Tensor = self.operator.select(rows).A(images) - self.y[rows]
        return difference.square() if self.power == 2 else difference.abs()

    def _record(self, images: Tensor, held_out: Tensor, rows: list[int]) -> None:
        """Store the images (n, C, H, W) whose held-out errors (n,) are among the best so far.

        The last image stored is always the latest of the best: only later ones could have displaced it.
        """
        held_out = held_out.nan_to_num(torch.inf, torch.inf)
        enters = held_out < self.best[rows, -1]
        self.best[rows] = torch.cat([self.best[rows], held_out.view(-1, 1)], 1).sort(1).values[:, :-1]
        self.restored[rows] = torch.where(enters.view(-1, 1, 1, 1), images, self.restored[rows])


def on_sphere(z: Tensor) -> Tensor:
    """Scale each image of z (N, C, H, W) to the norm sqrt(C H W), near which all standard normal noise has its norm."""
    norms: Tensor = z.flatten(1).norm(dim=1)
    return z * (math.sqrt(z[0].numel()) / norms.view(-1, 1, 1, 1))


def tangent(gradient: Tensor, z: Tensor) -> Tensor:
    """Return the part of each image's gradient that is orthogonal to z, both (N, C, H, W); 0 at an optimum on a sphere.

    Adam divides by the size of each component, so its steps would leave the optimum if the radial part remained.
    """
    share = (gradient * z).flatten(1).sum(1) / z.square().flatten(1).sum(1)
    return gradient - share.view(-1, 1, 1, 1) * z


def _mean(error: Tensor, where: Tensor) -> Tensor:
    """Return the mean of each image's values where a mask is 1, (N,); 0 where it is 1 nowhere."""
    return (error * where).flatten(1).sum(1) / where.flatten(1).sum(1).clamp(min=1)
