"""Linear measurement operators A, each with its adjoint, exact pseudo-inverse and proximal step.

Images are (N, C, H, W). An operator that holds a tensor for each image (a mask) takes exactly as many images.
"""
# ruff: noqa: N802 - the operator is called A in every paper

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

TRUNCATION = 1e-3
"""A blur's transfer function is set to 0 where it is below this share of its peak."""


Gain: TypeAlias = Callable[[Tensor], Tensor]
"""Maps singular values, a tensor of any shape (..., H', W'), to the factors of their components."""


class Operator(ABC):
    """A linear map from images to measurements."""

    @abstractmethod
    def A(self, x: Tensor) -> Tensor:
        """Measure images (N, C, H, W)."""

    @abstractmethod
    def adjoint(self, y: Tensor, /) -> Tensor:
        """Return A' y, for which <A x, y> = <x, A' y>."""

    @abstractmethod
    def pinv(self, y: Tensor, /) -> Tensor:
        """Return A+ y, the least-squares image of the least norm (Moore-Penrose)."""

    @abstractmethod
    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """Return the x that minimises |A x - y|^2 + rho |x - v|^2; rho > 0 is a number or (N, 1, 1, 1)."""

    @abstractmethod
    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """Return V g(S) V' x, where A = U S V': each singular component of x times a function g of its singular value.

        With g(s) = s^2 this is A'A x, with g(s) = 1 it is x. Components in the null space of A have s = 0. A gain that
        differs between images is a tensor whose shape begins with (N, 1).
        """

    def measured(self, y: Tensor) -> Tensor:
        """Return a tensor like y that is 1 at measured values and 0 elsewhere."""
        return torch.ones_like(y)

    def select(self, indices: list[int]) -> Self:
        """Return the operator of the images with these indices."""
        del indices
        return self

    def to(self, device: torch.device | str) -> Self:
        """Copy this operator to a device, without changing the original, like `Tensor.to`."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        return moved


class Identity(Operator):
    """A x = x, for denoising."""

    def A(self, x: Tensor) -> Tensor:
        """Return x; the adjoint and the pseudo-inverse are the same map."""
        return x

    adjoint = pinv = A

    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """Return (y + rho v) / (1 + rho)."""
        return (y + rho * v) / (1 + rho)

    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """Return g(1) x."""
        return gain(x.new_ones(1, 1)) * x


class Mask(Operator):
    """A x = m x: pixels are measured where the mask (N, 1, H, W) or (1, 1, H, W) is 1, and set to 0 elsewhere."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def A(self, x: Tensor) -> Tensor:
        """Set unmeasured pixels to 0; the adjoint and the pseudo-inverse are the same map."""
        return x * self.mask

    adjoint = pinv = A

    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """Return (m y + rho v) / (m + rho)."""
        return (self.mask * y + rho * v) / (self.mask + rho)

    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """Return g(m) x: the singular components are the pixels, and the singular values are the mask."""
        return gain(self.mask) * x

    def measured(self, y: Tensor) -> Tensor:
        """Return the mask, expanded to all channels."""
        return self.mask.expand_as(y)

    def select(self, indices: list[int]) -> Mask:
        """Return the operator with the masks of the images with these indices."""
        return self if len(self.mask) == 1 else Mask(self.mask[indices])


class BlockMean(Operator):
    """A x = the mean over blocks of f x f pixels; the last block of a row or column may be smaller.

    For a block of n pixels A A' = 1 / n, so the other maps have closed forms.
    """

    def __init__(self, factor: int, size: tuple[int, int], device: torch.device | str = "cpu") -> None:
        self.factor = factor
        self.size = size
        rows, columns = ((side - torch.arange(0, side, factor, device=device)).clamp(max=factor) for side in size)
        self.count = (rows.view(-1, 1) * columns).float()
        """The number of pixels in each block, shape (ceil(H / f), ceil(W / f))."""

    def A(self, x: Tensor) -> Tensor:
        """Return the means of blocks, (N, C, ceil(H / f), ceil(W / f))."""
        return F.avg_pool2d(x, self.factor, ceil_mode=True, count_include_pad=False)

    def adjoint(self, y: Tensor) -> Tensor:
        """Divide each value equally among the pixels of its block."""
        return self.pinv(y / self.count.to(y.dtype))

    def pinv(self, y: Tensor) -> Tensor:
        """Repeat each value over the pixels of its block."""
        height, width = self.size
        return y.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)[..., :height, :width]

    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """Move the mean of every block of v towards its measurement (by the matrix inversion lemma)."""
        return v + self.adjoint((y - self.A(v)) / (1 / self.count.to(y.dtype) + rho))

    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """Scale each block's mean, with singular value 1 / sqrt(n), and the residual from it, with singular value 0."""
        mean = self.A(x)
        residual = x - self.pinv(mean)
        return self.pinv(gain(self.count.to(x.dtype).rsqrt()) * mean) + gain(x.new_zeros(1, 1)) * residual


class CircularBlur(Operator):
    """A x = k * x, a convolution with circular boundary, computed by FFT.

    A itself is truncated: its transfer function is set to 0 where it is below 1e-3 of its peak (`TRUNCATION`). So the
    pseudo-inverse is exact, and amplifies noise at most a thousand times.
    """

    def __init__(self, kernel: Tensor, size: tuple[int, int]) -> None:
        """Set up the blur with a `kernel` of odd sides, centred on the pixel; a kernel larger than the image wraps."""
        self.size = size
        rows, columns = (
            (torch.arange(side, device=kernel.device) - side // 2) % image
            for side, image in zip(kernel.shape, size, strict=True)
        )
        wrapped = torch.zeros(size, dtype=torch.float64, device=kernel.device)
        wrapped.index_put_((rows.view(-1, 1), columns.view(1, -1)), kernel.double(), accumulate=True)
        transfer = torch.fft.rfft2(wrapped)
        passband = transfer.abs() > TRUNCATION * transfer.abs().max()
        self.transfer = torch.where(passband, transfer, torch.zeros_like(transfer))
        """The Fourier transform of the kernel, complex128, shape (H, W // 2 + 1)."""

    def A(self, x: Tensor) -> Tensor:
        """Blur the images."""
        return self._filter(x, self.transfer)

    def adjoint(self, y: Tensor) -> Tensor:
        """Correlate y with the kernel."""
        return self._filter(y, self.transfer.conj())

    def pinv(self, y: Tensor) -> Tensor:
        """Deconvolve y at the frequencies that the blur passes."""
        passes = self.transfer != 0
        return self._filter(y, torch.where(passes, 1 / torch.where(passes, self.transfer, 1), 0))

    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """Return (A'A + rho)^-1 (A'y + rho v), frequency by frequency."""
        return self._filter(self.adjoint(y) + rho * v, 1 / (self.transfer.abs().square() + rho))

    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """Scale each frequency; its singular value is the modulus of the transfer function."""
        return self._filter(x, gain(self.transfer.abs().to(x.dtype)))

    def _filter(self, x: Tensor, transfer: Tensor) -> Tensor:
        wide = torch.complex128 if x.dtype == torch.float64 else torch.complex64
        filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * transfer.to(wide), s=self.size)
        return filtered


class MaskedOperator(Operator):
    """An operator without some measurements of an inner operator; they are 0 in y.

    The inner operator's measurements must have no pixels in common (`Identity`, `Mask`, `BlockMean`).
    """

    def __init__(self, inner: Operator, mask: Tensor) -> None:
        """Set up the operator with a `mask`, shaped like y, that is 1 at the remaining measurements."""
        self.inner = inner
        self.mask = mask

    def A(self, x: Tensor) -> Tensor:
        """Apply the inner operator, and set masked measurements to 0."""
        return self.inner.A(x) * self.mask

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the inner adjoint to the remaining measurements."""
        return self.inner.adjoint(y * self.mask)

    def pinv(self, y: Tensor) -> Tensor:
        """Apply the inner pseudo-inverse to the remaining measurements, which share no pixels with the masked ones."""
        return self.inner.pinv(y * self.mask)

    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """Apply the inner proximal step, with masked measurements replaced by A v, so that v stays there."""
        return self.inner.prox(v, y * self.mask + self.inner.A(v) * (1 - self.mask), rho)

    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """Scale the components of masked measurements as those with singular value 0."""
        masked = self.inner.pinv(self.inner.A(x) * (1 - self.mask))
        return self.inner.spectral_filter(x - masked, gain) + gain(x.new_zeros(1, 1)) * masked

    def measured(self, y: Tensor) -> Tensor:
        """Return a tensor like y that is 1 at the remaining measurements and 0 elsewhere."""
        return self.inner.measured(y) * self.mask

    def select(self, indices: list[int]) -> MaskedOperator:
        """Return the operator of the images with these indices."""
        return MaskedOperator(self.inner.select(indices), self.mask[indices])
