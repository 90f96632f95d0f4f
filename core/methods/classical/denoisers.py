"""Classic denoisers for pictures of any size and number of channels, whose Gaussian noise has a known level."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from pywt import dwtn_max_level
from scipy.optimize import minimize_scalar
from skimage.restoration import cycle_spin, denoise_nl_means, denoise_tv_chambolle, denoise_wavelet
from torch import Tensor

from dipddpm.core.degrade.case import Case
from dipddpm.core.errors import UserError
from dipddpm.core.methods.classical.holes import fill
from dipddpm.core.methods.classical.pictures import (
    Picture,
    from_orthogonal,
    is_small,
    map_pictures,
    to_orthogonal,
    with_gaussian_noise,
)

Denoiser: TypeAlias = Callable[[Picture, float], Picture]
"""Removes noise of a positive standard deviation from a picture."""

STRENGTH, SMALL_STRENGTH = 0.6, 1.1
"""Bandwidth h of non-local means, in standard deviations of the noise, for large and for small pictures; like all
settings here, the former was tuned on chelsea, coffee, rocket, coins, brick, moon and a slice of tissue from
scikit-image."""
LEVELS = 5
"""Most levels of wavelets."""
WEIGHTS = 0.1, 4.0
"""Bounds of the weight of total variation, in standard deviations of the noise."""
ITERATIONS = 50
"""Iterations of Chambolle's algorithm."""
EVALUATIONS = 8
"""Weights that are tried for each channel."""
CROP = 160
"""Side of the crop in the middle of a channel on which its weight of total variation is chosen."""


def denoise(case: Case, denoiser: Denoiser) -> Tensor:
    """Restore a noisy picture; missing pixels are first filled by biharmonic inpainting."""
    case, sigma, finish = with_gaussian_noise(case)
    filled = fill(case)
    return finish(map_pictures(lambda y: denoiser(y, sigma), filled) if sigma else filled)


def nonlocal_means(y: Picture, sigma: float) -> Picture:
    """Return non-local means (Buades et al., CVPR 2005), whose weights compare patches in all channels together.

    In small pictures the centre of a patch counts more than its rim (0.4 dB better at sigma 25), which takes four times
    as long.
    """
    small = is_small(*y.shape[1:])
    strength = SMALL_STRENGTH if small else STRENGTH
    options = {"patch_size": 5, "patch_distance": 6, "h": strength * sigma, "sigma": sigma, "fast_mode": not small}
    # With the channels first, scikit-image transposes pictures of one channel.
    channels_last = np.moveaxis(y, 0, -1)
    denoised: Picture = denoise_nl_means(channels_last, channel_axis=-1, **options)
    return np.moveaxis(denoised.reshape(channels_last.shape), -1, 0)


def wavelets(y: Picture, sigma: float) -> Picture:
    """Return the mean over 16 shifts of BayesShrink on wavelets (Chang et al., 2000), in orthogonal colours.

    Small pictures have Haar's wavelets, 0.1 dB better than Daubechies' at sigma 25 and 0.3 dB at sigma 50.
    """
    wavelet = "haar" if is_small(*y.shape[1:]) else "db2"
    levels = min(LEVELS, dwtn_max_level(y.shape[1:], wavelet))
    options = {"wavelet": wavelet, "wavelet_levels": levels, "sigma": sigma, "rescale_sigma": False}
    planes = [
        cycle_spin(plane, denoise_wavelet, max_shifts=3, func_kw=options, workers=1) for plane in to_orthogonal(y)
    ]
    return from_orthogonal(np.stack(planes))


def total_variation(y: Picture, sigma: float) -> Picture:
    """Return the picture of least total variation (Rudin et al., 1992; Chambolle, 2004), in orthogonal colours.

    Each channel's weight has the least risk, by Stein's unbiased estimate on the middle of the channel itself. It needs
    the noise level; weights chosen without it by J-invariance (Batson & Royer, 2019) were 0.8 dB worse at sigma 25, and
    0.7 dB at sigma 50 with the level estimated for Stein's risk, on six images of each set that `pictures.SMALL` names.
    """
    planes = [_chambolle(plane, _tv_weight(plane, sigma)) for plane in to_orthogonal(y)]
    return from_orthogonal(np.stack(planes))


def _chambolle(plane: Picture, weight: float) -> Picture:
    # A fixed number of iterations makes the result a smooth function of the plane, which the risk's divergence needs.
    denoised: Picture = denoise_tv_chambolle(  # type: ignore[no-untyped-call]
        plane, weight=weight, eps=0, max_num_iter=ITERATIONS
    )
    return denoised


def _tv_weight(plane: Picture, sigma: float) -> float:
    """Return the weight of least risk; the divergence is estimated with a random probe (Ramani et al., 2008)."""
    top, left = (max(0, side - CROP) // 2 for side in plane.shape)
    noisy = plane[top : top + CROP, left : left + CROP]
    probe, step = np.random.default_rng(0).standard_normal(noisy.shape), 0.1 * sigma

    def risk(logarithm: float) -> float:
        weight = math.exp(logarithm) * sigma
        denoised, moved = _chambolle(noisy, weight), _chambolle(noisy + step * probe, weight)
        divergence = (probe * (moved - denoised)).mean() / step
        return float(((noisy - denoised) ** 2).mean() + 2 * sigma**2 * divergence)

    options = {"maxiter": EVALUATIONS, "xatol": 0.05}
    best = minimize_scalar(risk, bounds=[math.log(weight) for weight in WEIGHTS], method="bounded", options=options)
    return math.exp(best.x) * sigma


def bm3d(y: Picture, sigma: float) -> Picture:
    """Return BM3D (Dabov et al., 2007; code by its authors) in orthogonal colours, with blocks matched on the first.

    It runs in one thread, since with several the result differs from call to call in the last digits.
    Raises UserError if the optional package isn't installed.
    """
    try:
        import bm3d as package
    except ImportError:
        problem = "The method bm3d needs the package bm3d, whose licence allows non-commercial use only."
        raise UserError(problem, "Install dipddpm[bm3d], or take nl-bayes.") from None
    channels_last = np.moveaxis(to_orthogonal(y), 0, -1)
    profile = package.BM3DProfile()
    profile.num_threads = 1
    denoised = package.bm3d(channels_last, sigma, profile).reshape(channels_last.shape)
    return from_orthogonal(np.moveaxis(denoised, -1, 0))


biharmonic = partial(denoise, denoiser=wavelets)
"""Fills holes by biharmonic inpainting, and removes noise by wavelets."""
