"""Degradations y = A x + noise: operators with their adjoint, pseudo-inverse and proximal step; noise; and both in one.

`degrade` makes the measurements of a run from true images and a task; every method starts from a `Degradation`.
"""

from dipddpm.core.degrade.measure import Degradation, degrade
from dipddpm.core.degrade.noise import GaussianNoise, Noise, PoissonNoise, SaltAndPepper
from dipddpm.core.degrade.operators import BlockMean, CircularBlur, Identity, Mask, MaskedOperator, Operator

__all__ = [
    "BlockMean",
    "CircularBlur",
    "Degradation",
    "GaussianNoise",
    "Identity",
    "Mask",
    "MaskedOperator",
    "Noise",
    "Operator",
    "PoissonNoise",
    "SaltAndPepper",
    "degrade",
]
