"""How much of the noise a linear filter can tell: a measure of what is left of it that no training can blur."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 9
"""Side of the neighbourhood that the filter sees, in pixels."""
RIDGE = 1e-4
"""Of the features' mean square: enough for outputs that are constant, too little to move what can be told."""


def predictable_share(inputs: Tensor, targets: Tensor, fitted: int) -> float:
    """R^2 of the best linear filter from `given` to `wanted`, both (N, C, H, W), of one channel wanted.

    Each pixel of `wanted` is predicted from the 9x9 pixels of `given` around it, and a constant, by ridge regression
    (float64) over all pixels of the first `fitted` images; R^2 = 1 - SSE / SST is that of all pixels of the others,
    SST being about the mean of the fitted ones. 0 says that nothing can be told, 1 that everything can; where nothing
    can, chance makes it a little less than 0.
    """
    a, b = _features(inputs[:fitted]), targets[:fitted].double().reshape(-1)
    mean = b.mean()
    gram = a.T @ a
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    coefficients = torch.linalg.solve(gram, a.T @ (b - mean))
    test_targets = targets[fitted:].double().reshape(-1) - mean
    error = (_features(inputs[fitted:]) @ coefficients - test_targets).square().sum()
    return float(1 - error / test_targets.square().sum())


def _features(images: Tensor) -> Tensor:
    """A row for each pixel: its neighbourhood, zeros beyond the border, and 1."""
    rows = F.unfold(images.double(), WINDOW, padding=WINDOW // 2).transpose(1, 2).flatten(0, 1)
    return F.pad(rows, (0, 1), value=1.0)
