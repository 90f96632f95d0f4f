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
    automatic: bool = True
    """True if `auto` tries it; False for methods that would take most of the time of the trial."""
    extra: str = ""
    """The optional package that it needs; empty if it needs none."""
    needs_prior: bool = False
    """True if it needs a trained diffusion model of patches."""


ALL_TASKS = ("denoise", "inpaint", "superres", "deblur")
PICTURE_METHODS: dict[str, PictureMethod] = {
    "dip": PictureMethod("Deep Image Prior: an untrained network fitted to the picture", ALL_TASKS),
    "patch-prior": PictureMethod(
        "a small diffusion model of drawn dead leaves, applied patch by patch", ALL_TASKS, needs_prior=True
    ),
    "calibrated": PictureMethod(
        "DIP and the patch prior, weighted by held-out measurements", ALL_TASKS, False, needs_prior=True
    ),
    "nl-bayes": PictureMethod("non-local Bayes: groups of similar patches", ("denoise",)),
    "bm3d": PictureMethod("BM3D, collaborative filtering of similar patches", ("denoise",), extra="bm3d"),
    "nlm": PictureMethod("non-local means: averages of similar patches", ("denoise",)),
    "tv": PictureMethod("total variation: flat regions with sharp edges", ("denoise",)),
    "wavelet": PictureMethod("shrinkage of wavelet coefficients", ("denoise",)),
    "median": PictureMethod("a median filter, for impulses", ("denoise",)),
    "kriging": PictureMethod("interpolation by the picture's own correlations", ("denoise", "inpaint")),
    "biharmonic": PictureMethod("the smoothest surface through the known pixels", ("denoise", "inpaint")),
    "bicubic": PictureMethod("bicubic interpolation that agrees with the small picture", ("superres",)),
    "wiener": PictureMethod("a Wiener filter", ("deblur",)),
    "richardson-lucy": PictureMethod("Richardson-Lucy deconvolution", ("deblur",)),
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
