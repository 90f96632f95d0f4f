"""A cell of a scoreboard: all methods on one task and one set of images, and each hybrid's gains. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

from dipddpm.core.config.hybrid import is_hybrid
from dipddpm.core.evaluation.intervals import Interval, interval
from dipddpm.core.evaluation.rows import (
    DDPM_EQUAL,
    DDPM_MEAN,
    DIP_EQUAL,
    DIP_MEAN,
    IMPULSES,
    POSTERIOR_MEAN,
    MethodScores,
    detects_impulses,
    equalizes_spectrum,
)
from dipddpm.core.events import RestorationMissing, RestorationScored

Yardstick: TypeAlias = Literal["all", "equal", "plain"]
YARDSTICKS: dict[Yardstick, str] = {
    "all": "the best of all rows",
    "equal": "the best baseline with equal tricks",
    "plain": "the better plain baseline",
}
"""The names of the yardsticks; in a cell, the best row of each one is at least as good as that of the next."""
PLAIN = (DIP_MEAN, DDPM_MEAN, POSTERIOR_MEAN)
"""The plain baselines, in the hybrid's time."""
EQUAL = (DIP_EQUAL, DDPM_EQUAL)
"""The baselines with the hybrid's tricks; where these change nothing, the plain baselines have equal tricks."""
CONTROLS = {"conditioned": "conditioned-pinv"}
"""The control of a hybrid, by the hybrid's name: the same method without DIP's contribution."""
_BEST = {"all": "best of all rows", "equal": "best with equal tricks", "plain": "best plain"}


@dataclass
class Cell:
    """All methods on one task and one set of images; a method that failed with any seed is in `missing`, not `rows`."""

    task: str
    set: str
    missing: dict[str, RestorationMissing] = field(default_factory=dict)
    _rows: dict[tuple[str, str], MethodScores] = field(default_factory=dict)

    def add(self, event: RestorationScored | RestorationMissing) -> None:
        """Add a method's result, or the reason why it has none."""
        self.__dict__.pop("rows", None)
        if isinstance(event, RestorationMissing):
            self.missing[event.method] = event
            for key in [key for key in self._rows if event.method in key]:
                del self._rows[key]
        elif not {event.method, event.budget_of} & self.missing.keys():
            key = (event.method, event.budget_of)
            self._rows.setdefault(key, MethodScores(*key)).add(event)

    @cached_property
    def rows(self) -> dict[tuple[str, str], MethodScores]:
        """The rows by method and the hybrid whose time it was given, on the images and seeds that all of them have.

        So rows are compared on the same images while a slice of them, or another seed, is not yet complete.
        """
        parts = [row.parts() for row in self._rows.values()]
        shared = set.intersection(*parts) if parts else set()
        return {key: row.limited(shared) if shared else row for key, row in self._rows.items()}

    @property
    def name(self) -> str:
        """The heading of the cell."""
        return f"{self.task} on {self.set}" if self.set else self.task

    @property
    def has_impulses(self) -> bool:
        """True if the noise consists of impulses, which a hybrid may detect."""
        return IMPULSES in self.task

    @property
    def lacks_equal(self) -> bool:
        """True if the hybrid has tricks for the cell, but no baseline has them."""
        name, noise = self.task.partition(":")[0], IMPULSES if self.has_impulses else ""
        tricks = detects_impulses(name, noise) or equalizes_spectrum(name, noise)
        return tricks and not {*EQUAL} & {*self.missing, *(method for method, _ in self._rows)}

    @property
    def hybrids(self) -> list[str]:
        """The hybrids that have a result."""
        return [method for method, _ in self.rows if is_hybrid(method)]

    def best(self, hybrid: str, yardstick: Yardstick) -> MethodScores | None:
        """Return the row that a hybrid's gain is measured against.

        It is the row with the best mean over the same images on which the gain is then measured. This makes the
        yardstick strict: a row that is best by chance lowers the gain, and the hybrid has no such choice. Baselines
        took at most the hybrid's time; among all rows, classics, single fits and samples took any. None without such a
        row, and if a baseline failed, since the remaining rows alone might be too easy to beat.
        """
        names = PLAIN if yardstick == "plain" else (*PLAIN, *EQUAL)
        if any(name in self.missing and self.missing[name].failed for name in names):
            return None
        if yardstick == "all":
            others = [row for row in self.rows.values() if not is_hybrid(row.method)]
        else:
            others = [self.rows[key] for name in names for key in ((name, hybrid), (name, "")) if key in self.rows]
        return max(others, key=lambda row: row.mean, default=None)

    def differences(self, hybrid: str, yardstick: Yardstick) -> dict[int, float]:
        """Return the hybrid's PSNR minus that of the yardstick's row, by the index of the image."""
        return paired_differences(self.rows.get((hybrid, "")), self.best(hybrid, yardstick))

    def gain(self, hybrid: str, yardstick: Yardstick) -> Interval | None:
        """Return the mean of `differences` with its bounds; None without differences."""
        differences = self.differences(hybrid, yardstick)
        return interval([*differences.values()]) if differences else None

    def verdicts(self) -> list[str]:
        """Describe each hybrid's gains, the smallest first, and its gain over its control, with bounds.

        A row that is best of all is also best among the fewer rows of the next yardstick, so it is named only once.
        """
        texts = []
        for hybrid in self.hybrids:
            named: dict[str, tuple[MethodScores, str]] = {}
            for yardstick in YARDSTICKS:
                row = self.best(hybrid, yardstick)
                if row and not (yardstick == "equal" and self.lacks_equal):
                    named.setdefault(row.label, (row, _BEST[yardstick]))
            if control := self.rows.get((CONTROLS.get(hybrid, ""), "")):
                named.setdefault(control.label, (control, "control"))
            for row, role in named.values():
                if differences := paired_differences(self.rows[hybrid, ""], row):
                    gain = interval([*differences.values()])
                    texts.append(f"{hybrid} - {row.method}: {gain.text(' dB')} ({role})")
        return texts

    @property
    def size(self) -> str:
        """The number of images and seeds, in words: 12 images, 1 seed."""
        images = [len(row.by_image) for row in [*self.rows.values()][:1]]
        return f"{span(images, 'image')}, {seeds([self])}"


def seeds(cells: Sequence[Cell]) -> str:
    """Return the number of seeds with which each image was degraded, in words."""
    rows = [row for cell in cells for row in [*cell.rows.values()][:1]]
    return span([len(values) for row in rows for values in row.by_image.values()], "seed")


def span(numbers: Sequence[int], noun: str) -> str:
    """Return a number of things, or the range of several numbers, in words."""
    low, high = min(numbers, default=0), max(numbers, default=0)
    return f"{low} {noun}{'' if low == 1 else 's'}" if low == high else f"{low} to {high} {noun}s"


def paired_differences(row: MethodScores | None, other: MethodScores | None) -> dict[int, float]:
    """Return the PSNR of a row minus that of another one, by the index of the image; empty if one is missing."""
    if row is None or other is None:
        return {}
    ours, theirs = (dict(zip(each.by_image, each.psnr, strict=True)) for each in (row, other))
    pairs = {index: (value, theirs[index]) for index, value in ours.items() if index in theirs}
    return {index: 0.0 if a == b else a - b for index, (a, b) in pairs.items()}  # two exact images are infinite
