"""What the shares of a trial mean for the result, where the trial is not quite what the candidates are wanted for."""

from __future__ import annotations

import torch
from torch import Tensor

LEAD = 0.5
"""The share that a candidate needs after a coarse trial, in shares of the largest one; the fits count as one."""
DECIDED = 3
"""The power of shares where DIP and diffusion part in what nobody measured.

With the square root among the samples it was the best of a few on six images each of FashionMNIST's last training
images and of glyphs, patches and leaves from number 100,020 on, blurred by 1.5 pixels with noise of 2 grey levels.
"""
TINY = 1e-6


def leading(weights: Tensor, fits: int) -> Tensor:
    """Only the candidates that lead, for shares (N, K), of which the first `fits` are of DIP.

    After a trial with coarser measurements: from so little the second best is not as far behind as it will be.
    """
    together = weights[:, :fits].sum(1, keepdim=True).expand(-1, fits)
    counted = torch.cat([together, weights[:, fits:]], 1)
    kept = weights * (counted >= LEAD * counted.amax(1, keepdim=True))
    return kept / kept.sum(1, keepdim=True)


def decided(weights: Tensor, fits: int) -> Tensor:
    """DIP or diffusion, whichever leads, as `leading` counts; what is left to diffusion is spread among its samples.

    After a trial with a blur: what was measured tells less apart than what was not. Where diffusion is trusted its
    samples are alike, and which of them agrees best with a blurred image says little of the rest; their errors differ.
    """
    ours, theirs = weights[:, :fits], weights[:, fits:]
    lead = ours.sum(1, keepdim=True)
    trusted = lead**DECIDED / (lead**DECIDED + (theirs**DECIDED).sum(1, keepdim=True))
    spread = theirs.sqrt()
    shares = [
        trusted * ours / lead.clamp(min=TINY),
        (1 - trusted) * spread / spread.sum(1, keepdim=True).clamp(min=TINY),
    ]
    told = torch.cat(shares, 1)
    return told / told.sum(1, keepdim=True)
