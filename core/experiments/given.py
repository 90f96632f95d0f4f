"""Given pictures in a run: how they are loaded as a batch, and what the run yields about their restorations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor

from dipddpm.core.config import DipRun, HybridRun
from dipddpm.core.config.tasks import Inpaint
from dipddpm.core.data import sources
from dipddpm.core.data.given import GivenImages, load_given
from dipddpm.core.degrade import Degradation
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.measure import image_size
from dipddpm.core.degrade.noise_estimate import resolve_noise
from dipddpm.core.events import DataLoaded, GivenRestored, NoiseEstimated
from dipddpm.core.images import spread_map, spread_white
from dipddpm.core.io.given import GivenPicture


@dataclass(frozen=True, eq=False)
class Batch:
    """The images of one size that a run restores together."""

    images: Tensor
    """True images (N, C, H, W) in [0, 1], or given ones, which are measurements."""
    labels: list[str]
    """A label for each, which seeds its noise; the names of given images."""
    loaded: DataLoaded
    given: GivenImages | None = None
    """The given images; None if the images are true ones."""

    @property
    def truth(self) -> Tensor | None:
        """The true images (N, C, H, W), if they are known."""
        if self.given is None:
            return self.images
        if not self.given.truth:
            return None
        return torch.stack([image.expand(self.images.shape[1], -1, -1) for image in self.given.truth])

    def shape(self, config: HybridRun) -> tuple[int, int, int]:
        """Return the shape (C, H, W) of an image to restore."""
        channels, height, width = self.images.shape[1:]
        size = (height, width) if self.given is None else image_size(config.task, (height, width))
        return channels, *size

    def case(self, config: HybridRun) -> Case:
        """Degrade true images as the task says, or take given ones as they are."""
        if self.given is None:
            return Case.of(self.images, config.task, self.labels, config.seed)
        return Case.given(self.images, config.task, config.seed)


def load_batch(config: HybridRun, channels: int | None = None) -> Batch:
    """Load the images of a run, with the `channels` of its prior. Raises UserError as `sources.load_batch` does."""
    if not config.images.given:
        return Batch(*sources.load_batch(config.images, config.data, channels))
    given = load_given(config.images, config.task.enlargement)
    return Batch(sources.as_batch(given.images, channels), given.names, given.loaded, given)


def with_known_noise(case: Case, image: int = 0) -> tuple[Case, list[NoiseEstimated]]:
    """Estimate the noise of a case unless its task names it; return the case, and the event of an estimate."""
    degradation, found = resolve_noise(case.y, case.degradation)
    if found is None:
        return case, []
    names = ("kind", "sigma", "lower", "upper", "photons", "hit", "certainty")
    facts = {name: getattr(found, name) for name in names}
    return replace(case, degradation=degradation), [NoiseEstimated(image=image, text=found.sentence, **facts)]


class Quality(TypedDict):
    """The fields of `QualityPredicted` that describe one image, in 8-bit grey levels."""

    residual: float
    noise: float | None


def qualities(y: Tensor, degradation: Degradation, images: Tensor) -> list[Quality]:
    """Return the residual and the noise level of each restored image (N, C, H, W), given its measurements y."""
    residuals = (255 * degradation.misfit(images, y)).tolist()
    expected = degradation.expected_residual(y)
    levels = [None] * len(y) if expected is None else (255 * expected.clamp(min=0).sqrt()).tolist()
    return [Quality(residual=residual, noise=noise) for residual, noise in zip(residuals, levels, strict=True)]


def restored_files(
    given: GivenImages,
    restored: Sequence[Tensor],
    config: DipRun | HybridRun,
    step: int,
    *,
    spread: Tensor | None = None,
) -> list[GivenRestored]:
    """Return a payload for each given file, with the restorations (C, H, W) of the pictures in it.

    With a `spread` (N, C, H, W), a map of that of the file's first picture comes with it.
    """
    files, images = [], config.images
    maps = None if spread is None else spread_map(spread, spread_white(spread))
    mask = config.task.mask if isinstance(config.task, Inpaint) else ""
    for index, picture in enumerate(given.pictures):
        if picture.page == 0:
            pages = [_with_channels(image, picture) for image in restored[index : index + picture.pages]]
            name = given.names[index].removesuffix(f"-page-{1:0{len(str(picture.pages))}}")
            files.append(
                GivenRestored(
                    file=str(picture.path),
                    name=name,
                    images=pages,
                    mask=mask,
                    maps={} if maps is None else {"spread": maps[index]},
                    white=images.white,
                    grey=images.grey,
                    step=step,
                )
            )
    return files


def _with_channels(image: Tensor, picture: GivenPicture) -> Tensor:
    """Return the grey image of an image (C, H, W) that was restored in colour for the prior alone."""
    return image if len(image) == picture.pixels.shape[-1] else image.mean(0, keepdim=True)
