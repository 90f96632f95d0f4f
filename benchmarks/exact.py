"""Images of a known distribution, for which the ideal denoiser and the posterior given a measurement are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.core.ddpm.denoiser import Network
from dipddpm.core.ddpm.posterior import Problem
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.degrade import Operator


class Mixture:
    """Images in model space that are N(m, C), where m is one of the `means`, (M, C, H, W), all equally likely.

    A single mean gives Gaussian images; many means and a small covariance (D, D), D = C H W, give a kernel density
    estimate of a data set. Both have closed forms: given xt, or given y = A x + noise, the images are a mixture of M
    Gaussians again.
    """

    def __init__(self, means: Tensor, covariance: Tensor) -> None:
        self.shape = tuple(means.shape[1:])
        self.means = means.flatten(1).double()
        self.covariance = covariance.double()
        values, self.basis = torch.linalg.eigh(self.covariance)
        self.variances = values.clamp(min=0)
        """The eigenvalues of the covariance, whose eigenvectors are the columns of `basis`."""

    @classmethod
    def around(cls, images: Tensor, bandwidth: float, deviation: float) -> Mixture:
        """Return the density of images in model space, (M, C, H, W), smoothed by a Gaussian kernel.

        The kernel's covariance is the images' own times the square of `bandwidth`, plus the square of `deviation` in
        every pixel.
        """
        pixels = images.flatten(1).double()
        eye = torch.eye(pixels.shape[1], dtype=torch.float64)
        return cls(images, bandwidth**2 * pixels.T.cov(correction=0) + deviation**2 * eye)

    @classmethod
    def gaussian(cls, images: Tensor, deviation: float) -> Mixture:
        """Return Gaussian images with the mean and the covariance of `images`, plus white noise of a deviation."""
        kernel = cls.around(images, 1, deviation)
        return cls(images.double().mean(0, keepdim=True), kernel.covariance)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw images, (count, C, H, W)."""
        index = torch.randint(len(self.means), (count,), generator=generator)
        images: Tensor = self.means[index] + self.noise(count, generator)
        return images.view(count, *self.shape).float()

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw from N(0, C), float64 (count, D)."""
        white = torch.randn(count, len(self.variances), generator=generator, dtype=torch.float64)
        colored: Tensor = white * self.variances.sqrt() @ self.basis.T
        return colored

    def network(self, schedule: Schedule) -> Network:
        """Return the ideal denoiser E[x0 | xt], for the objective x0; a batch has one timestep for all images.

        In the basis of C's eigenvectors xt given m is N(a m, v) with v = a^2 variance + s^2 in each component, and x0
        given xt and m is m + a variance / v (xt - a m).
        """
        basis, means = self.basis.float(), (self.means @ self.basis).float()
        variances = self.variances.float()

        def denoise(xt: Tensor, t: Tensor) -> Tensor:
            a, s = schedule.alpha_sigma(int(t[0]))
            v = a**2 * variances + s**2
            z = xt.flatten(1) @ basis
            logits = (a * z / v) @ means.T - a**2 / 2 * (means.square() / v).sum(1)
            mean = torch.softmax(logits, 1) @ means
            gain = a * variances / v
            x0: Tensor = (gain * z + (1 - a * gain) * mean) @ basis.T
            return x0.view(xt.shape)

        return denoise

    def posterior(self, problem: Problem) -> Posterior:
        """Return the exact posterior of x given the measurement of each image; the noise must be positive."""
        parts = []
        for index in range(problem.shape[0]):
            matrix = dense(problem.operator.select([index] * len(self.basis)), self.shape)
            y, sigma = problem.y[index].flatten().double(), problem.sigma[index].item()
            covariance_y = matrix @ self.covariance @ matrix.T + sigma**2 * torch.eye(len(matrix), dtype=torch.float64)
            root = torch.linalg.cholesky(covariance_y)
            gain = torch.cholesky_solve(matrix @ self.covariance, root).T
            residual = y - self.means @ matrix.T
            weights = torch.softmax(
                -torch.linalg.solve_triangular(root, residual.T, upper=False).square().sum(0) / 2, 0
            )
            means = self.means + residual @ gain.T
            parts.append(_Part(self, matrix, sigma, y, gain, weights, means))
        return Posterior(self.shape, parts)


@dataclass
class _Part:
    """The posterior of one image: a mixture of the prior's Gaussians, each conditioned on y."""

    prior: Mixture
    matrix: Tensor
    sigma: float
    y: Tensor
    gain: Tensor
    weights: Tensor
    means: Tensor

    def mean(self) -> Tensor:
        return self.weights @ self.means

    def variance(self) -> Tensor:
        within = (self.prior.covariance - self.gain @ self.matrix @ self.prior.covariance).diagonal()
        return within + self.weights @ (self.means - self.mean()).square()

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw from the prior, measure, and correct by the difference from y, as for Gaussian processes (Matheron)."""
        index = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        shift = self.prior.noise(count, generator)
        noise = self.sigma * torch.randn(count, len(self.y), generator=generator, dtype=torch.float64)
        return self.means[index] + shift - (shift @ self.matrix.T + noise) @ self.gain.T


@dataclass
class Posterior:
    """The exact posteriors of N images of `shape` (C, H, W) in model space."""

    shape: tuple[int, ...]
    parts: list[_Part]

    @property
    def mean(self) -> Tensor:
        """The estimate with the least mean squared error, (N, C, H, W)."""
        return torch.stack([part.mean() for part in self.parts]).view(-1, *self.shape)

    @property
    def variance(self) -> Tensor:
        """The variance of each pixel, (N, C, H, W)."""
        return torch.stack([part.variance() for part in self.parts]).view(-1, *self.shape)

    @property
    def weights(self) -> Tensor:
        """The probabilities of the prior's means, (N, M)."""
        return torch.stack([part.weights for part in self.parts])

    @property
    def effective(self) -> Tensor:
        """The effective number of means of each image, exp(entropy of the weights), (N,)."""
        entropy: Tensor = torch.special.entr(self.weights).sum(1)
        return entropy.exp()

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw exact samples, (count, N, C, H, W)."""
        drawn = [part.sample(count, generator).view(count, *self.shape) for part in self.parts]
        return torch.stack(drawn, 1)


def dense(operator: Operator, shape: tuple[int, ...]) -> Tensor:
    """Return the matrix of an operator that measures D images of `shape` alike, float64 (values of y, D)."""
    basis = torch.eye(math.prod(shape)).view(-1, *shape)
    return operator.A(basis).flatten(1).T.double()
