"""Degradations y = A x + noise: operators with adjoint, pseudo-inverse and proximal step, and kinds of noise.

`degrade` measures true images as a task describes; every method starts from the resulting y and `Degradation`.
"""

from dipddpm.core.degrade.measure import Degradation, degrade
from dipddpm.core.degrade.noise import (
    GaussianNoise,
    Noise,
    PoissonGaussianNoise,
    PoissonNoise,
    SaltAndPepper,
    UnknownNoise,
)
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
    "PoissonGaussianNoise",
    "PoissonNoise",
    "SaltAndPepper",
    "UnknownNoise",
    "degrade",
]
