"""Options of the restoration of given pictures, and the methods that restore them. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from dipddpm.core.config.base import Natural, Positive, Section

PictureMethodName: TypeAlias = Literal[
    "auto",
    "dip",
    "nl-bayes",
    "bm3d",
    "nlm",
    "tv",
    "wavelet",
    "median",
    "kriging",
    "biharmonic",
    "bicubic",
    "wiener",
    "richardson-lucy",
    "patch-prior",
    "calibrated",
]


@dataclass(frozen=True)
class PictureMethod:
    """The facts about a method that are known without running it."""

    summary: str
    """A phrase for help pages and forms."""
    tasks: tuple[str, ...]
    """Names of the tasks that it supports."""
    automatic: tuple[str, ...]
    """Names of the tasks for which `auto` tries it.

    DIP and what contains it take minutes for what the others do in seconds, and the patch prior was better in every
    measurement of both (docs/patch-prior.md), so they are used only where they are named.
    """
    extra: str = ""
    """The optional package that it needs; empty if it needs none."""
    needs_prior: bool = False
    """True if it needs a trained diffusion model of patches."""


ALL_TASKS = ("denoise", "inpaint", "superres", "deblur")
_DENOISE, _INPAINT, _SUPERRES, _DEBLUR = (("denoise",), ("inpaint",), ("superres",), ("deblur",))
PICTURE_METHODS: dict[str, PictureMethod] = {
    "dip": PictureMethod("Deep Image Prior: an untrained network fitted to the picture", ALL_TASKS, ()),
    "patch-prior": PictureMethod(
        "a small diffusion model of drawn dead leaves, applied patch by patch", ALL_TASKS, ALL_TASKS, needs_prior=True
    ),
    "calibrated": PictureMethod(
        "DIP and the patch prior, weighted by held-out measurements", ALL_TASKS, (), needs_prior=True
    ),
    "nl-bayes": PictureMethod("non-local Bayes: groups of similar patches", _DENOISE, _DENOISE),
    "bm3d": PictureMethod("BM3D, collaborative filtering of similar patches", _DENOISE, _DENOISE, extra="bm3d"),
    "nlm": PictureMethod("non-local means: averages of similar patches", _DENOISE, _DENOISE),
    "tv": PictureMethod("total variation: flat regions with sharp edges", _DENOISE, _DENOISE),
    "wavelet": PictureMethod("shrinkage of wavelet coefficients", _DENOISE, _DENOISE),
    "median": PictureMethod("a median filter, for impulses", _DENOISE, _DENOISE),
    "kriging": PictureMethod(
        "interpolation by the picture's own correlations", _DENOISE + _INPAINT, _DENOISE + _INPAINT
    ),
    "biharmonic": PictureMethod(
        "the smoothest surface through the known pixels", _DENOISE + _INPAINT, _DENOISE + _INPAINT
    ),
    "bicubic": PictureMethod("bicubic interpolation that agrees with the small picture", _SUPERRES, _SUPERRES),
    "wiener": PictureMethod("a Wiener filter", _DEBLUR, _DEBLUR),
    "richardson-lucy": PictureMethod("Richardson-Lucy deconvolution", _DEBLUR, _DEBLUR),
}
"""The methods by name; `auto` is none of them: it chooses one."""


def methods_for(task: str) -> list[str]:
    """Return the names of the methods that support a task, `auto` first."""
    return ["auto", *(name for name, facts in PICTURE_METHODS.items() if task in facts.tasks)]


class PictureConfig(Section, frozen=True):
    """The method that restores given pictures, and the tiles into which it divides large ones."""

    method: Annotated[
        PictureMethodName,
        "the method; auto tries those that suit the task on parts of the picture, and takes the one that best predicts "
        "held-out measurements",
    ] = "auto"
    tile: Annotated[
        Natural, Meta(le=4096), "side in pixels of the tiles of a large picture; 0: as the method needs"
    ] = 0
    overlap: Annotated[Natural, Meta(le=512), "pixels by which neighbouring tiles overlap at least"] = 16
    restarts: Annotated[
        Positive, Meta(le=64), "number of restorations with different random draws that are averaged (dip)"
    ] = 2
    trial: Annotated[bool, "whether to predict the quality, and choose a method, from held-out measurements"] = True
    out: Annotated[
        str, "file, or folder for several, to which the result is copied; empty: only the run's own folder"
    ] = ""
