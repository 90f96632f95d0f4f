"""Missing pixels by biharmonic inpainting: what can be said of them without learning anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

Plane: TypeAlias = NDArray[np.float64]


def inpaint(y: Tensor, measured: Tensor) -> Tensor:
    """Images (N, C, H, W) that are y where `measured`, shaped like y, is not 0, and smooth between."""
    return map_planes(_inpaint_plane, y, measured)


def map_planes(method: Callable[..., Plane], *inputs: Tensor) -> Tensor:
    """A method for one plane, applied to all channels of all images; on the inputs' device."""
    planes = [tensor.double().cpu().flatten(0, 1).numpy() for tensor in inputs]
    results = np.stack([method(*plane) for plane in zip(*planes, strict=True)])
    return torch.from_numpy(results).float().view(*inputs[0].shape[:2], *results.shape[1:]).to(inputs[0].device)


def _inpaint_plane(y: Plane, measured: Plane) -> Plane:
    filled: Plane = inpaint_biharmonic(y, measured == 0)
    return filled
