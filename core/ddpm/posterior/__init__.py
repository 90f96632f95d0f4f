"""Restoration of images from y = A x + noise with a trained network; each method is a solver that also uses y.

The methods work in model space, where an image is 2x - 1, the measurement is 2y - A 1 and the noise is twice as large.
Sources: DDRM (Kawar et al., NeurIPS 2022), DDNM+ (Wang et al., ICLR 2023), DiffPIR (Zhu et al., CVPR workshops 2023),
DPS (Chung et al., ICLR 2023), PiGDM (Song et al., ICLR 2023) and MMPS (Rozet et al., NeurIPS 2024).
"""

from dipddpm.core.ddpm.posterior.guided import Dps, Mmps, PiGdm
from dipddpm.core.ddpm.posterior.problem import Problem
from dipddpm.core.ddpm.posterior.proximal import DiffPir, Robust
from dipddpm.core.ddpm.posterior.restoration import METHODS, PosteriorMean, Restoration
from dipddpm.core.ddpm.posterior.spectral import Ddnm, Ddrm

__all__ = [
    "METHODS",
    "Ddnm",
    "Ddrm",
    "DiffPir",
    "Dps",
    "Mmps",
    "PiGdm",
    "PosteriorMean",
    "Problem",
    "Restoration",
    "Robust",
]
