"""The table of classic methods for people's own pictures: what each one restores, and how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from dipddpm.core.degrade import (
    Degradation,
    SaltAndPepper,
)
from dipddpm.core.degrade.case import Case
from dipddpm.core.errors import UserError
from dipddpm.core.methods.classical import deconvolution, denoisers, holes, superresolution
from dipddpm.core.methods.classical.nl_bayes import nl_bayes
from dipddpm.core.methods.classical.pictures import task_of

ADDITIVE = ("gaussian", "poisson", "poisson-gaussian")
IMPULSES = ("salt-and-pepper",)


@dataclass(frozen=True)
class Classic:
    """A method without a network."""

    name: str
    summary: str
    tasks: tuple[str, ...]
    noises: tuple[str, ...]
    method: Callable[[Case], Tensor]
    """Restores a case of one picture (1, C, H, W)."""
    seconds: float
    """About how long it takes for a megapixel of one channel, on one core."""
    extra: str = ""
    """The optional package that it needs; empty if none."""

    def supports(self, task: str, noise: str) -> bool:
        """Return whether the method restores a task with a kind of noise; impulses are missing pixels to it."""
        return noise in self.noises and (task in self.tasks or (task, noise) == ("denoise", SaltAndPepper.kind))

    def refuse_other(self, degradation: Degradation) -> None:
        """Raise UserError for a degradation whose task or kind of noise the method doesn't support."""
        task, noise = task_of(degradation.operator), degradation.noise.kind
        if not self.supports(task, noise):
            names = [classic.name for classic in CLASSICS.values() if classic.supports(task, noise)]
            remedy = f"Take {' or '.join(names)}." if names else "Take dip."
            raise UserError(f"The method {self.name} doesn't restore {task} with {noise} noise.", remedy)

    def restore(self, case: Case) -> Tensor:
        """Restore a case; returns float images (N, C, H, W), not clipped. Each picture is restored by itself.

        Raises UserError for a degradation that the method doesn't support, and without its package.
        """
        self.refuse_other(case.degradation)
        return torch.cat([self.method(_select(case, index)) for index in range(len(case.y))])


def _select(case: Case, index: int) -> Case:
    y = case.y[index : index + 1]
    return replace(case, y=y, degradation=case.degradation.select([index]), shape=(1, *case.shape[1:]))


def _denoiser(name: str, summary: str, denoiser: denoisers.Denoiser, seconds: float, extra: str = "") -> Classic:
    return Classic(name, summary, ("denoise",), ADDITIVE, partial(denoisers.denoise, denoiser=denoiser), seconds, extra)


CLASSICS: dict[str, Classic] = {
    classic.name: classic
    for classic in (
        _denoiser("nlm", "non-local means", denoisers.nonlocal_means, 30),
        _denoiser("tv", "least total variation", denoisers.total_variation, 10),
        _denoiser("wavelet", "wavelets, shrunk by BayesShrink", denoisers.wavelets, 10),
        _denoiser("nl-bayes", "non-local Bayes", nl_bayes, 25),
        _denoiser("bm3d", "BM3D, for non-commercial use only", denoisers.bm3d, 40, "bm3d"),
        Classic("median", "median of the pixels around", ("denoise",), IMPULSES, holes.median_of_impulses, 1),
        Classic("kriging", "kriging from the pixels around", ("inpaint",), ADDITIVE + IMPULSES, holes.kriging, 60),
        Classic("biharmonic", "smoothest surface", ("inpaint",), ADDITIVE + IMPULSES, denoisers.biharmonic, 10),
        Classic("wiener", "Wiener's filter", ("deblur",), ADDITIVE, deconvolution.wiener, 5),
        Classic("richardson-lucy", "Richardson-Lucy", ("deblur",), ADDITIVE, deconvolution.richardson_lucy, 20),
        Classic("bicubic", "bicubic interpolation", ("superres",), ADDITIVE, superresolution.bicubic, 1),
    )
}
"""All classic methods by name."""
