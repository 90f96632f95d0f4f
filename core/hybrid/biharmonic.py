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


def inpainted(y: Tensor, measured: Tensor) -> Tensor:
    """Images (N, C, H, W) that are y where `measured`, shaped like y, is not 0, and smooth between."""
    return each_plane(_inpainted, y, measured)


def each_plane(method: Callable[..., Plane], *inputs: Tensor) -> Tensor:
    """A method for one plane, applied to all channels of all images; on the inputs' device."""
    planes = [tensor.double().cpu().flatten(0, 1).numpy() for tensor in inputs]
    done = np.stack([method(*plane) for plane in zip(*planes, strict=True)])
    return torch.from_numpy(done).float().view(*inputs[0].shape[:2], *done.shape[1:]).to(inputs[0].device)


def _inpainted(y: Plane, kept: Plane) -> Plane:
    found: Plane = inpaint_biharmonic(y, kept == 0)
    return found
