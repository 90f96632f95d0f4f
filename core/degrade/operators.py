"""Linear measurement operators A, each with its adjoint, exact pseudo-inverse and proximal step.

Images are (N, C, H, W); an operator may hold something for each of the N images (a mask), and then takes only as many.
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
"""A blur lets nothing pass where its transfer function is below this share of its peak."""


Gain: TypeAlias = Callable[[Tensor], Tensor]
"""From singular values, as a tensor of any shape (..., H', W'), to what multiplies their components."""


class Operator(ABC):
    """A linear map from images to measurements."""

    @abstractmethod
    def A(self, x: Tensor) -> Tensor:
        """Measure images (N, C, H, W)."""

    @abstractmethod
    def adjoint(self, y: Tensor, /) -> Tensor:
        """A' y, with <A x, y> = <x, A' y>."""

    @abstractmethod
    def pinv(self, y: Tensor, /) -> Tensor:
        """A+ y, the least-squares image of the least norm (Moore-Penrose)."""

    @abstractmethod
    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """The x that minimises |A x - y|^2 + rho |x - v|^2, for rho > 0; one for all images, or (N, 1, 1, 1)."""

    @abstractmethod
    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """V g(S) V' x, where A = U S V': each singular component of x multiplied by a function of its value.

        With g(s) = s^2 this is A'A x, with g(s) = 1 it is x; what A doesn't see has s = 0. A gain may differ from
        image to image, as a tensor that begins with (N, 1).
        """

    def measured(self, y: Tensor) -> Tensor:
        """1 where y holds a measurement and 0 where it holds none; shaped like y."""
        return torch.ones_like(y)

    def select(self, indices: list[int]) -> Self:
        """The operator of some of the images."""
        del indices
        return self

    def to(self, device: torch.device | str) -> Self:
        """Copy this operator to a device. The original keeps its tensors, as those of `Tensor.to` do."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        return moved


class Identity(Operator):
    """A x = x: what is left is noise."""

    def A(self, x: Tensor) -> Tensor:
        """The image itself, as its adjoint and its pseudo-inverse give it."""
        return x

    adjoint = pinv = A

    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """(y + rho v) / (1 + rho)."""
        return (y + rho * v) / (1 + rho)

    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """g(1) x."""
        return gain(x.new_ones(1, 1)) * x


class Mask(Operator):
    """A x = m x: pixels are kept where the mask (N, 1, H, W) or (1, 1, H, W) is 1, and 0 where it is 0."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def A(self, x: Tensor) -> Tensor:
        """The kept pixels, 0 elsewhere, as its adjoint and its pseudo-inverse give them."""
        return x * self.mask

    adjoint = pinv = A

    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """(m y + rho v) / (m + rho)."""
        return (self.mask * y + rho * v) / (self.mask + rho)

    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """g(m) x: the singular values are those of the mask, and the components the pixels."""
        return gain(self.mask) * x

    def measured(self, y: Tensor) -> Tensor:
        """The mask, for each channel."""
        return self.mask.expand_as(y)

    def select(self, indices: list[int]) -> Mask:
        """The masks of some of the images."""
        return self if len(self.mask) == 1 else Mask(self.mask[indices])


class BlockMean(Operator):
    """A x = the mean over blocks of f x f pixels; the last block of a row or column has what is left.

    With n the number of pixels of a block, A A' = 1 / n, which gives all else in closed form.
    """

    def __init__(self, factor: int, size: tuple[int, int], device: torch.device | str = "cpu") -> None:
        self.factor = factor
        self.size = size
        rows, columns = ((side - torch.arange(0, side, factor, device=device)).clamp(max=factor) for side in size)
        self.count = (rows.view(-1, 1) * columns).float()
        """Pixels of each block, shape (ceil(H / f), ceil(W / f))."""

    def A(self, x: Tensor) -> Tensor:
        """Means of blocks, (N, C, ceil(H / f), ceil(W / f))."""
        return F.avg_pool2d(x, self.factor, ceil_mode=True, count_include_pad=False)

    def adjoint(self, y: Tensor) -> Tensor:
        """Each value shared out over the pixels of its block."""
        return self.pinv(y / self.count.to(y.dtype))

    def pinv(self, y: Tensor) -> Tensor:
        """Each value repeated over its block."""
        height, width = self.size
        return y.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)[..., :height, :width]

    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """Move every block of v towards its measured mean (by the matrix inversion lemma)."""
        return v + self.adjoint((y - self.A(v)) / (1 / self.count.to(y.dtype) + rho))

    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """The mean of each block, of singular value 1 / sqrt(n), and what differs from it, of 0."""
        mean = self.A(x)
        residual = x - self.pinv(mean)
        return self.pinv(gain(self.count.to(x.dtype).rsqrt()) * mean) + gain(x.new_zeros(1, 1)) * residual


class CircularBlur(Operator):
    """A x = k * x, a convolution with circular boundary, done by FFT.

    The transfer function is cut to 0 where it is below 1e-3 of its peak (`TRUNCATION`), in A itself: the
    pseudo-inverse is then exact, and makes noise at most a thousand times larger.
    """

    def __init__(self, kernel: Tensor, size: tuple[int, int]) -> None:
        """`kernel` has odd sides, its middle being the pixel itself; where larger than the image, it wraps round."""
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
        """Fourier transform of the kernel, complex128, shape (H, W // 2 + 1)."""

    def A(self, x: Tensor) -> Tensor:
        """The blurred images."""
        return self._filter(x, self.transfer)

    def adjoint(self, y: Tensor) -> Tensor:
        """Correlation with the kernel."""
        return self._filter(y, self.transfer.conj())

    def pinv(self, y: Tensor) -> Tensor:
        """Deconvolution at the frequencies that pass."""
        passes = self.transfer != 0
        return self._filter(y, torch.where(passes, 1 / torch.where(passes, self.transfer, 1), 0))

    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """(A'A + rho)^-1 (A'y + rho v), frequency by frequency."""
        return self._filter(self.adjoint(y) + rho * v, 1 / (self.transfer.abs().square() + rho))

    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """Frequency by frequency, the singular values being the moduli of the transfer function."""
        return self._filter(x, gain(self.transfer.abs().to(x.dtype)))

    def _filter(self, x: Tensor, transfer: Tensor) -> Tensor:
        wide = torch.complex128 if x.dtype == torch.float64 else torch.complex64
        filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * transfer.to(wide), s=self.size)
        return filtered


class MaskedOperator(Operator):
    """Another operator of which some values are not seen: 0 in y, and no part of A.

    For operators whose values have no pixels in common (`Identity`, `Mask`, `BlockMean`).
    """

    def __init__(self, inner: Operator, mask: Tensor) -> None:
        """`mask`, shaped like y, is 1 at what is still seen."""
        self.inner = inner
        self.mask = mask

    def A(self, x: Tensor) -> Tensor:
        """Apply the inner operator, and set what is masked to 0."""
        return self.inner.A(x) * self.mask

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the inner adjoint to what is still measured."""
        return self.inner.adjoint(y * self.mask)

    def pinv(self, y: Tensor) -> Tensor:
        """Invert the part of y that is still measured: its pixels belong to no other value."""
        return self.inner.pinv(y * self.mask)

    def prox(self, v: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """Where nothing is seen there is no reason to leave v: there y is what v predicts."""
        return self.inner.prox(v, y * self.mask + self.inner.A(v) * (1 - self.mask), rho)

    def spectral_filter(self, x: Tensor, gain: Gain) -> Tensor:
        """The components of what is no longer seen have singular value 0 now."""
        lost = self.inner.pinv(self.inner.A(x) * (1 - self.mask))
        return self.inner.spectral_filter(x - lost, gain) + gain(x.new_zeros(1, 1)) * lost

    def measured(self, y: Tensor) -> Tensor:
        """1 where the inner operator measures and the mask leaves it."""
        return self.inner.measured(y) * self.mask

    def select(self, indices: list[int]) -> MaskedOperator:
        """Of some of the images."""
        return MaskedOperator(self.inner.select(indices), self.mask[indices])
