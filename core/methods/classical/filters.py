"""Classic methods from before deep learning, one for each task, which any learned method should beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from scipy.ndimage import median_filter
from skimage.restoration import denoise_nl_means, wiener
from torch import Tensor

from dipddpm.core.degrade import BlockMean, CircularBlur, Degradation, Identity, Mask, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.degrade.simplify import without_impulses
from dipddpm.core.events import Item, StateDict, Step
from dipddpm.core.methods.classical.kriging import Plane, krige, map_planes

BALANCE = 5.0
"""Regularisation of the Wiener filter, in variances of the noise; like all settings here, tuned on training images."""


class ClosedFormRestorer:
    """A method that computes its restoration by a formula, in a single step."""

    nfe = 0
    iterations = 0

    def __init__(self, case: Case, formula: Callable[[Case], Tensor]) -> None:
        self.case = case
        self.formula = formula
        self.images = torch.zeros(case.shape, device=case.y.device)
        """The restoration (N, C, H, W), in [0, 1] but not clipped; zeros before the step."""
        self.done = False

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Item]:
        if not self.done:
            self.images = self.formula(self.case)
            self.done = True
            yield Step(step=1)

    def state_dict(self) -> dict[str, Any]:
        """Return the images, and whether they have been computed."""
        return {"images": self.images, "done": self.done}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned."""
        self.images, self.done = state["images"], state["done"]


def restore_classic(case: Case) -> Tensor:
    """Restore a case by the classic method for its task; returns images (N, C, H, W) on the device of the case.

    The methods are kriging for missing pixels and for impulses, which a 3x3 median detects, bicubic interpolation for
    large pixels, a Wiener filter for a blur, and non-local means for noise.
    """
    if isinstance(case.degradation.noise, SaltAndPepper) and isinstance(case.degradation.operator, Identity):
        case = without_impulses(case, map_planes(_median, case.y))
    y, degradation = case.y, with_noise_level(case.y, case.degradation)
    operator = degradation.operator
    if isinstance(operator, Mask):
        variance = degradation.expected_residual(y)
        images = krige(y, operator.mask.expand_as(y), y.new_zeros(len(y)) if variance is None else variance)
    elif isinstance(operator, BlockMean):
        images = F.interpolate(y, size=case.shape[2:], mode="bicubic", align_corners=False)
    elif isinstance(operator, CircularBlur):
        images = map_planes(_wiener(operator, _sigma(case, degradation)), y)
    else:
        images = map_planes(_nonlocal(_sigma(case, degradation)), y)
    return images


def _sigma(case: Case, degradation: Degradation) -> float:
    """Return the standard deviation of the noise on the scale of [0, 1], averaged over the images; 0 without noise."""
    variance = degradation.expected_residual(case.y)
    return 0.0 if variance is None else float(variance.clamp(min=0).mean().sqrt())


def _nonlocal(sigma: float) -> Callable[[Plane], Plane]:
    """Return non-local means (Buades et al., CVPR 2005) on patches of 5x5 pixels."""

    def denoise(y: Plane) -> Plane:
        restored: Plane = denoise_nl_means(y, patch_size=5, patch_distance=6, h=sigma, sigma=sigma, fast_mode=False)
        return restored

    return denoise


def _median(y: Plane) -> Plane:
    restored: Plane = median_filter(y, size=3, mode="reflect")
    return restored


def _wiener(operator: CircularBlur, sigma: float) -> Callable[[Plane], Plane]:
    """Return a Wiener filter in Hunt's form, which penalises the Laplacian of the image."""
    transfer = operator.transfer.cpu().numpy()

    def deblur(y: Plane) -> Plane:
        restored: Plane = wiener(  # type: ignore[no-untyped-call]
            y, transfer, balance=max(sigma, 1 / 255) ** 2 * BALANCE, clip=False
        )
        return restored

    return deblur
