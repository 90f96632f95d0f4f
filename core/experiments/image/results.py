"""The events, pictures and files of a restored group of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.config import ImageRun
from dipddpm.core.config.tasks import Inpaint
from dipddpm.core.degrade import GaussianNoise, Mask
from dipddpm.core.degrade.panels import CONTRAST
from dipddpm.core.events import GivenRestored, Item, Pictures, PsnrMeasured, QualityPredicted
from dipddpm.core.experiments.given import qualities
from dipddpm.core.experiments.image.group import GroupResult
from dipddpm.core.experiments.image.tiles import Window
from dipddpm.core.experiments.spread import root_mean_squares
from dipddpm.core.images import clip_visibly, spread_map, spread_name, spread_white
from dipddpm.core.means import psnr_mean
from dipddpm.core.methods.trial.clipping import clipping_corrected
from dipddpm.core.metrics.image import psnr, ssim_scores

PREVIEW = 1024
"""The longest side in pixels of a picture that shows a whole result; larger results are averaged down."""
DETAIL = 192
"""Side in pixels of the part of a large picture that is shown pixel by pixel."""
FILES = ("given", "restored", "truth")
"""Panels that are stored as files of the given file's kind, or that the user has."""


@dataclass(frozen=True)
class FileOfGroup:
    """A given file of a group: its pictures are those at `rows` of the group."""

    file: str
    name: str
    rows: slice
    index: int
    """Index of the file's first picture among all given pictures."""
    out: str
    """The path to which the result is copied; empty if it isn't."""


def known_pixels_kept(result: GroupResult) -> GroupResult:
    """Return the result with the measured pixels as they were given, and certain, if they have no noise."""
    degradation = result.case.degradation
    noise_free = isinstance(degradation.noise, GaussianNoise) and degradation.noise.sigma == 0
    if not (noise_free and isinstance(degradation.operator, Mask)):
        return result
    known = degradation.operator.mask > 0
    spread = None if result.spread is None else result.spread.masked_fill(known, 0.0)
    return replace(result, images=torch.where(known, result.case.y, result.images), spread=spread)


def closing_items(
    result: GroupResult, files: Sequence[FileOfGroup], truth: Tensor | None, config: ImageRun, step: int
) -> Iterator[Item]:
    """Yield the events, pictures and files of a group; `truth` are the true images (N, C, H, W), if they are known."""
    result = known_pixels_kept(result)
    case = result.case
    known = qualities(case.y, case.degradation, result.images)
    images = clipping_corrected(result.images, case)
    spreads = [None] * len(images) if result.spread is None else root_mean_squares(result.spread)
    for each in files:
        for page, row in enumerate(range(*each.rows.indices(len(images)))):
            prediction = result.predict(row)
            yield QualityPredicted(
                image=each.index + page,
                name=each.name,
                method=result.method,
                step=step,
                **known[row],
                spread=spreads[row],
                predicted_psnr=prediction.psnr if prediction else None,
                lower=prediction.lower if prediction else None,
                upper=prediction.upper if prediction else None,
            )
    if truth is not None:
        values = psnr(images, truth).tolist()
        ssim = ssim_scores(images, truth)
        yield PsnrMeasured(step=step, psnr=values, mean=psnr_mean(values).value, ssim=ssim)
    for each in files:
        rows = range(*each.rows.indices(len(images)))
        first = rows[0]
        panels = _panels(result, images, first, None if truth is None else truth[first])
        maps = {name.partition(",")[0]: panel for name, panel in panels.items() if name not in FILES}
        yield GivenRestored(
            file=each.file,
            name=each.name,
            images=[images[row] for row in rows],
            mask=config.task.mask if isinstance(config.task, Inpaint) else "",
            maps=maps,
            out=each.out,
            white=config.images.white,
            grey=config.images.grey,
            step=step,
        )
        yield _picture("restored", each.name, {name: _shrunk(panel) for name, panel in panels.items()}, step)
        if max(images.shape[-2:]) > 2 * DETAIL:
            window = _most_detailed(images[first])
            yield _picture("detail", each.name, {name: window.of(panel) for name, panel in panels.items()}, step)


def _panels(result: GroupResult, images: Tensor, row: int, truth: Tensor | None) -> dict[str, Tensor]:
    """Return what is shown of a picture, by name, each (C, H, W) in [0, 1] and of the size of the result."""
    given = (
        result.case.degradation.operator.pinv(result.case.y)[row]
        if images.shape != result.case.y.shape
        else result.case.y[row]
    )
    panels = {"given": given, "restored": images[row], "difference": 0.5 + CONTRAST * (given - images[row])}
    if result.spread is not None:
        spread = result.spread[row : row + 1]
        white = spread_white(spread)
        panels[spread_name(white)] = spread_map(spread, white)[0].expand_as(given)
    return panels if truth is None else {**panels, "truth": truth}


def _picture(kind: str, name: str, panels: dict[str, Tensor], step: int) -> Pictures:
    """Return the panels side by side."""
    images = clip_visibly(torch.stack(list(panels.values())))
    title = {"restored": f"{name}: before and after", "detail": f"{name}: a detail, pixel by pixel"}[kind]
    return Pictures(
        name=f"{kind}-{name}", images=images, step=step, title=title, columns=len(panels), panels=tuple(panels)
    )


def _shrunk(image: Tensor) -> Tensor:
    """Average an image (C, H, W) down by a whole factor until its sides are at most `PREVIEW` pixels."""
    factor = -(-max(image.shape[-2:]) // PREVIEW)
    return F.avg_pool2d(image[None], factor, ceil_mode=True, count_include_pad=False)[0] if factor > 1 else image


def _most_detailed(image: Tensor) -> Window:
    """Return the square part of an image (C, H, W) with the largest variance; a narrow image has a smaller square."""
    side = min(DETAIL, *image.shape[-2:])
    stride = max(1, side // 2)
    grey = image.mean(0, keepdim=True)[None]
    variance = F.avg_pool2d(grey.square(), side, stride) - F.avg_pool2d(grey, side, stride).square()
    top, left = divmod(int(variance.argmax()), int(variance.shape[-1]))
    return Window(top * stride, left * stride, side, side)
