"""The given files of a run: the facts about each, their groups, and the measurements of a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import torch
from torch import Tensor

from dipddpm.core.config import ImageRun
from dipddpm.core.data.given import GivenImages, load_given
from dipddpm.core.data.names import image_names
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.noise import Noise
from dipddpm.core.events import Item, NoiseEstimated
from dipddpm.core.experiments.given import with_known_noise

GROUP_PIXELS = 2**22
"""The most pixels of files that are restored together; one file may have more."""

NORMAL_95 = 1.645
"""A 90% interval of a normal distribution reaches so many standard deviations to each side."""


@dataclass(frozen=True)
class Facts:
    """The facts about a given file that are known before its pictures are restored."""

    index: int
    """Index of the file."""
    name: str
    """Its name in the run folder."""
    first: int
    """Index of its first picture among all given pictures."""
    shape: tuple[int, int, int, int]
    """The shape (pictures, C, H, W) of its measurements."""
    noise: Noise
    """The noise that the task names, or else the estimated one."""
    noise_error: float
    """The relative standard error of its level; 0 if the task names it."""
    ending: str
    """The ending of the file in which its restoration is stored, such as `.png`."""
    found: tuple[Item, ...]
    """Events and messages about the file, to be logged when the run begins."""

    @property
    def pixels(self) -> int:
        """The number of pixels in the file."""
        return self.shape[0] * self.shape[2] * self.shape[3]


def facts_of(config: ImageRun) -> list[Facts]:
    """Read each given file, one after the other, and estimate its noise unless the task names it.

    Raises UserError for a file that can't be read, and for a task that doesn't suit it.
    """
    facts: list[Facts] = []
    first = 0
    for index, name in enumerate(image_names(config.images)):
        loaded = _load(config, index)
        y = torch.stack(loaded.images)
        case, estimates = with_known_noise(Case.given(y, config.task, config.seed), first)
        n, channels, height, width = y.shape
        ending = loaded.pictures[0].source.ending
        error = max(map(_level_error, estimates), default=0.0)
        found = (*loaded.messages, *estimates)
        facts.append(
            Facts(index, name, first, (n, channels, height, width), case.degradation.noise, error, ending, found)
        )
        first += n
    return facts


def _level_error(estimate: NoiseEstimated) -> float:
    """Return the relative standard error of the level of an estimated noise."""
    level = estimate.photons or estimate.hit or max(estimate.sigma, 1.0)
    return (estimate.upper - estimate.lower) / (2 * NORMAL_95 * level)


def _load(config: ImageRun, index: int) -> GivenImages:
    """Load the pictures of one file, and their truth if it is known."""
    images = config.images
    one = msgspec.structs.replace(images, given=images.given[index : index + 1], truth=images.truth[index : index + 1])
    return load_given(one, config.task.enlargement)


def group_files(facts: Sequence[Facts], *, noise_known: bool) -> list[list[Facts]]:
    """Group files whose pictures have one size and one noise, so that they can be restored together."""
    groups: list[list[Facts]] = []
    for each in facts:
        fitting = next(
            (
                group
                for group in groups
                if noise_known
                and group[0].shape[1:] == each.shape[1:]
                and sum(other.pixels for other in group) + each.pixels <= GROUP_PIXELS
            ),
            None,
        )
        if fitting is None:
            groups.append([each])
        else:
            fitting.append(each)
    return groups


def load_case(config: ImageRun, group: Sequence[Facts], device: torch.device) -> Case:
    """Read the files of a group again, and return the case of all their pictures, with their noise."""
    y = torch.stack([image for each in group for image in _load(config, each.index).images])
    case = Case.given(y, config.task, config.seed)
    return replace(case, degradation=replace(case.degradation, noise=group[0].noise, blind=False)).to(device)


def load_truth(config: ImageRun, group: Sequence[Facts]) -> Tensor | None:
    """Read the true images (N, C, H, W) of a group's pictures; None if they aren't known."""
    if not config.images.truth:
        return None
    return torch.stack([true for each in group for true in _load(config, each.index).truth])
