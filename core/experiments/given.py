"""What a run yields about the restorations of given pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from torch import Tensor

from dipddpm.core.config import ImagesConfig
from dipddpm.core.data.given import GivenImages
from dipddpm.core.degrade import Degradation
from dipddpm.core.events import GivenRestored


class Quality(TypedDict):
    """The fields of `QualityPredicted` that describe one image, in 8-bit grey levels."""

    residual: float
    noise: float | None


def qualities(y: Tensor, degradation: Degradation, images: Tensor) -> list[Quality]:
    """Return what the measurements y say about each restored image (N, C, H, W)."""
    residuals = (255 * degradation.misfit(images, y)).tolist()
    expected = degradation.expected_residual(y)
    levels = [None] * len(y) if expected is None else (255 * expected.clamp(min=0).sqrt()).tolist()
    return [Quality(residual=residual, noise=noise) for residual, noise in zip(residuals, levels, strict=True)]


def restored_files(
    given: GivenImages, restored: Sequence[Tensor], images: ImagesConfig, step: int
) -> list[GivenRestored]:
    """Return a payload for each given file, with the restorations (C, H, W) of the pictures in it."""
    files = []
    for index, picture in enumerate(given.pictures):
        if picture.page == 0:
            pages = list(restored[index : index + picture.pages])
            name = given.names[index].removesuffix(f"-page-{1:0{len(str(picture.pages))}}")
            files.append(
                GivenRestored(
                    file=str(picture.path), name=name, images=pages, white=images.white, grey=images.grey, step=step
                )
            )
    return files
