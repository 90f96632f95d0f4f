"""The rows of a scoreboard: the scores of one method on one task and one set of images. Loads no torch."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from dipddpm.core.events import RestorationScored
from dipddpm.core.means import PsnrMean, decibels, mean, mean_without_infinite, psnr_mean

DIP_MEAN, DDPM_MEAN, POSTERIOR_MEAN = "dip-mean", "ddpm-mean", "posterior-mean"
DIP_EQUAL, DDPM_EQUAL = "dip-equal", "ddpm-equal"
"""The baselines with the hybrid's own tricks, in cells where these change something."""
IMPULSES = "salt-and-pepper"
"""The noise that consists of impulses."""
Cost: TypeAlias = Literal["nfe", "iterations", "runs", "seconds"]
COSTS: tuple[Cost, ...] = get_args(Cost)
Part: TypeAlias = tuple[int, int, int]
"""The part of a row that one event scores: the seed, the index of the first image, and the number of images."""


@dataclass
class MethodScores:
    """The scores of a method in one cell; `budget_of` names the hybrid whose time it was given, if any.

    A method restores the images of a cell in slices. Each image has an index, by which the slices are joined.
    """

    method: str
    budget_of: str = ""
    scored: list[RestorationScored] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The name of the row: the method, and the hybrid whose time it was given, if any."""
        return method_label(self.method, self.budget_of)

    def add(self, event: RestorationScored) -> None:
        """Add a score; it replaces the one of the same seed and slice, as after a resume."""
        key = (event.seed, event.first)
        self.scored = [*(earlier for earlier in self.scored if (earlier.seed, earlier.first) != key), event]

    def parts(self) -> set[Part]:
        """Return the parts of the row that are scored."""
        return {_part(scored) for scored in self.scored}

    def limited(self, parts: Set[Part]) -> MethodScores:
        """Return the row with the scores of these parts alone."""
        return MethodScores(self.method, self.budget_of, [each for each in self.scored if _part(each) in parts])

    @property
    def by_image(self) -> dict[int, list[float]]:
        """The PSNR of each image in dB with each seed, by the image's index, in the order of the indices."""
        values: dict[int, list[float]] = {}
        for scored in self.scored:
            for index, value in enumerate(scored.psnr, scored.first):
                values.setdefault(index, []).append(value)
        return dict(sorted(values.items()))

    @property
    def psnr(self) -> list[float]:
        """The PSNR of each image in dB, averaged over seeds; infinite for an image that is exact with every seed."""
        return [mean_without_infinite(values) for values in self.by_image.values()]

    @property
    def mean(self) -> PsnrMean:
        """The PSNR in dB, averaged over all images."""
        return psnr_mean(self.psnr)

    @property
    def ssim(self) -> float | None:
        """The SSIM, averaged over all images; None if the images are too small for it."""
        values = [value for scored in self.scored for value in scored.ssim]
        return mean(values) if values else None

    @property
    def accuracy(self) -> float | None:
        """The share of images that the classifier recognised; None if they have no classes."""
        values = [float(value) for scored in self.scored for value in scored.recognised]
        return mean(values) if values else None

    @property
    def seconds_per_image(self) -> float:
        """The seconds of the method for each image, averaged over seeds."""
        return self.average("seconds") / max(1, len(self.psnr))

    def average(self, cost: Cost) -> float:
        """Return a cost of the method, averaged over seeds.

        `seconds` are for all images together, so those of slices add up. `nfe` (evaluations of the diffusion network)
        and `iterations` (of untrained networks) are per image. `runs` is the number of restarts or samples that are
        averaged.
        """
        slices: dict[int, list[RestorationScored]] = {}
        for scored in self.scored:
            slices.setdefault(scored.first, []).append(scored)
        costs = [mean([getattr(scored, cost) for scored in members]) for members in slices.values()]
        if cost == "seconds":
            return sum(costs)
        images = [len(members[0].psnr) for members in slices.values()]
        if not sum(images):
            return mean(costs)
        return sum(value * count for value, count in zip(costs, images, strict=True)) / sum(images)

    @property
    def knows(self) -> tuple[str, ...]:
        """The facts that the method was given or found out; empty in older logs."""
        return self.scored[0].knows if self.scored else ()

    def table_cells(self) -> dict[str, str]:
        """Return the texts of the method's table cells by column heading, without values that weren't measured."""
        nfe, iterations, runs, seconds = map(self.average, COSTS)
        numbers = {
            "PSNR": decibels(self.mean.value, ""),
            "exact": f"{self.mean.exact}" if self.mean.exact else "",
            "SSIM": "" if self.ssim is None else f"{self.ssim:.3f}",
            "class": "" if self.accuracy is None else f"{self.accuracy:.0%}",
            "NFE": f"{nfe:.0f}" if nfe else "",
            "iter": f"{iterations:.0f}" if iterations else "",
            "runs": f"{runs:.0f}" if runs > 1 else "",
            "seconds": f"{seconds:.1f}",
        }
        return {head: text for head, text in numbers.items() if text}


def detects_impulses(task: str, noise: str) -> bool:
    """Return whether the hybrid's tricks detect impulses: where each one hits a pixel, not a mean over several."""
    return noise == IMPULSES and task in {"denoise", "inpaint"}


def equalizes_spectrum(task: str, noise: str) -> bool:
    """Return whether the hybrid's tricks equalize the spectrum of a blur; with impulses, that would spread them."""
    return task == "deblur" and noise != IMPULSES


def method_label(method: str, budget_of: str) -> str:
    """Return the name of a row: the method, and the hybrid whose time it was given, if any."""
    return f"{method} @{budget_of}" if budget_of else method


def _part(scored: RestorationScored) -> Part:
    return scored.seed, scored.first, len(scored.psnr)
