"""Learned linear extrapolation (LLE, Wang et al., NeurIPS 2025): fewer steps by combining those already done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.posterior.consistent import DataConsistent, Estimates
from dipddpm.core.ddpm.posterior.problem import Problem
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.degrade import Degradation
from dipddpm.core.events import StateDict
from dipddpm.core.images import to_model

WINDOW = 6
"""Largest number of estimates that are combined: the present one and those of the steps before. The paper combines all;
in a hundred steps, the early ones are almost noise, and their coefficients depend on the images they are learned on."""
RIDGE = 1e-5
"""Weight of the coefficients' distance from 0, and from 1 for the present estimate, relative to its mean square."""


class Extrapolated(DataConsistent):
    """A sampler whose consistent x0 is replaced by a linear combination of it and those of the steps before.

    The part of x0 that the operator measures and the part that it doesn't have coefficients of their own, as in the
    paper. The coefficients of a step are those of least squared error to the true images that they are learned from, in
    closed form, while sampling these images; the paper finds them by gradient descent, with a perceptual loss too.
    """

    def __init__(self, base: DataConsistent, coefficients: list[Tensor], truth: Tensor | None = None) -> None:
        """Wrap a sampler; with `truth` (N, C, H, W) in model space, learn the coefficients and append them."""
        self.base, self.coefficients, self.truth = base, coefficients, truth
        self.problem = base.problem
        self.steps_done = 0
        self._earlier: list[Tensor] = []
        """The consistent estimates of the last steps, the latest first."""

    def consistent(self, estimates: Estimates) -> Tensor:
        """Return the combination of the latest estimates."""
        self._earlier = [self.base.consistent(estimates), *self._earlier][:WINDOW]
        parts = [*map(self._measured, self._earlier)]
        terms = [*parts, *(x0 - part for x0, part in zip(self._earlier, parts, strict=True))]
        if self.truth is not None:
            self.coefficients.append(least_squares(terms, self.truth, present=(0, len(parts))))
        weights = self.coefficients[self.steps_done].tolist()
        self.steps_done += 1
        return torch.stack([weight * term for weight, term in zip(weights, terms, strict=True)]).sum(0)

    def advance(self, x0: Tensor, estimates: Estimates, generator: torch.Generator) -> Tensor:
        """Step through x0 as the wrapped sampler does."""
        return self.base.advance(x0, estimates, generator)

    def state_dict(self) -> dict[str, Any]:
        """Return the latest estimates; the coefficients are the constructor's."""
        return {"earlier": list(self._earlier), "done": self.steps_done}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore the state that `state_dict` returned."""
        self._earlier, self.steps_done = list(state["earlier"]), state["done"]

    def _measured(self, x: Tensor) -> Tensor:
        """Return the part of x that the operator measures, A+ A x."""
        return self.problem.operator.spectral_filter(x, lambda value: (value > 0).to(x.dtype))


def least_squares(terms: list[Tensor], truth: Tensor, *, present: tuple[int, ...]) -> Tensor:
    """Return the coefficients (K,) of K terms whose sum is nearest to `truth`, all (N, C, H, W); see `RIDGE`.

    `present` are the indices of the terms whose coefficient is near 1; the others' are near 0.
    """
    x = torch.stack([term.flatten() for term in terms], 1).double()
    usual = torch.zeros(len(terms), dtype=torch.float64, device=x.device)
    usual[list(present)] = 1
    gram = x.T @ x
    ridge = RIDGE * float(gram.diagonal()[list(present)].sum()) * torch.eye(len(terms), device=x.device).double()
    solved: Tensor = torch.linalg.solve(gram + ridge, x.T @ truth.double().flatten() + ridge @ usual)
    return solved


def learn_extrapolation(
    sampler: Callable[[Problem], DataConsistent],
    denoiser: Denoiser,
    truth: Tensor,
    measurement: tuple[Tensor, Degradation],
    *,
    steps: int,
    seed: int,
) -> list[Tensor]:
    """Sample training images once from their measurements, and return the coefficients of each step.

    `truth` (N, C, H, W) are these images in [0, 1], `measurement` is (y, degradation).
    """
    shape = (truth.shape[0], truth.shape[1], truth.shape[2], truth.shape[3])
    solver = Extrapolated(sampler(Problem(*measurement, shape)), [], to_model(truth))
    for _ in Sampling(denoiser, solver, shape, steps=steps, seed=seed, device=truth.device):
        pass
    return solver.coefficients
