"""Rivals of the program's own methods: `python -m benchmarks.rivals NAME DAMAGED RESULT [MASK] [TRUTH]`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import metrics as _metrics
from skimage import restoration as _restoration

metrics: Any = _metrics  # annotated in part
restoration: Any = _restoration
SIGMA = 25 / 255


@dataclass(frozen=True)
class Rival:
    """A restoration of a picture (H, W) or (H, W, 3) in [0, 1], given the other files that it needs."""

    summary: str
    damages: tuple[str, ...]
    restore: Callable[..., Any]
    uses_truth: bool = False


def bm3d_of_known_level(y: Any) -> Any:
    """Denoise by BM3D's reference implementation, with the true noise level."""
    bm3d: Any = importlib.import_module("bm3d")

    return bm3d.bm3d(y, SIGMA) if y.ndim == 2 else bm3d.bm3d_rgb(y, SIGMA)


def bm3d_with_clipping_corrected(y: Any) -> Any:
    """Denoise by BM3D with the true noise level, and correct the means of clipped noise as `restore-image` does."""
    import torch  # the other rivals shall not pay for it

    from dipddpm.core.degrade.stabilize import correct_clipping

    denoised = torch.from_numpy(np.clip(bm3d_of_known_level(y), 0, 1))
    return correct_clipping(denoised, SIGMA).numpy()


def best_of_skimage(y: Any, truth: Any) -> Any:
    """Denoise by each denoiser of scikit-image with several strengths, and return what is nearest to the truth."""
    color = 2 if y.ndim == 3 else None
    candidates = [
        restoration.denoise_nl_means(
            y, patch_size=5, patch_distance=6, h=strength * SIGMA, sigma=SIGMA, fast_mode=True, channel_axis=color
        )
        for strength in (0.6, 0.8, 1.0)
    ]
    candidates += [restoration.denoise_tv_chambolle(y, weight, channel_axis=color) for weight in (0.06, 0.09, 0.12)]
    candidates.append(
        restoration.cycle_spin(
            y,
            restoration.denoise_wavelet,
            max_shifts=3,
            workers=1,
            func_kw={"sigma": SIGMA, "rescale_sigma": True, "channel_axis": color, "convert2ycbcr": color is not None},
            channel_axis=color,
        )
    )
    return max(candidates, key=lambda image: metrics.peak_signal_noise_ratio(truth, np.clip(image, 0, 1), data_range=1))


def biharmonic_of_skimage(y: Any, mask: Any) -> Any:
    """Fill holes with the biharmonic equation, region by region."""
    color = 2 if y.ndim == 3 else None
    return restoration.inpaint_biharmonic(y, mask < 0.5, split_into_regions=True, channel_axis=color)


RIVALS = {
    "bm3d-known": Rival("BM3D's reference implementation, with the noise level given", ("noise",), bm3d_of_known_level),
    "bm3d-corrected": Rival(
        "the same, and its result corrected for clipped noise", ("noise",), bm3d_with_clipping_corrected
    ),
    "skimage-best": Rival(
        "the best of scikit-image's denoisers, chosen by the truth", ("noise",), best_of_skimage, True
    ),
    "skimage-biharmonic": Rival("scikit-image's inpaint_biharmonic", ("random", "text"), biharmonic_of_skimage),
}


def main() -> None:
    """Restore one file."""
    name, given, result, *others = sys.argv[1:]
    images = [np.asarray(Image.open(file), np.float64) / 255 for file in (given, *others)]
    restored = np.clip(RIVALS[name].restore(*images), 0, 1)
    Image.fromarray(np.round(255 * restored).astype(np.uint8)).save(Path(result))


if __name__ == "__main__":
    main()
