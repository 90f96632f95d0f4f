"""Restorations compared: methods on the same degraded images, and a hybrid against both its parents. Loads no torch.

A cell is a task on a set of images. An image that was degraded several times, with other seeds, counts once, with the
mean of its scores. All is made of `restoration_scored` events, so a log is enough to draw the board again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from core.config import HYBRIDS
from core.events import RestorationScored
from core.paired import Interval, interval, pooled

DIP_MEAN, DDPM_MEAN, POSTERIOR_MEAN = "dip-mean", "ddpm-mean", "posterior-mean"
PARENTS = {"DIP": (DIP_MEAN,), "DDPM": (DDPM_MEAN, POSTERIOR_MEAN)}
"""The forms of each parent that a hybrid is compared with: the best of them on the mean of a cell stands for it."""


@dataclass
class Row:
    """A method in one cell. `budget_of` names the hybrid whose seconds it was given, if any."""

    method: str
    budget_of: str = ""
    scored: list[RestorationScored] = field(default_factory=list)

    @property
    def psnr(self) -> list[float]:
        """Of each image, in dB, on the mean of its seeds."""
        return [_mean(values) for values in zip(*(scored.psnr for scored in self.scored), strict=False)]

    @property
    def mean(self) -> float:
        """PSNR in dB on the mean of all images."""
        return _mean(self.psnr)

    @property
    def ssim(self) -> float | None:
        """On the mean; None where the images are too small for it."""
        values = [value for scored in self.scored for value in scored.ssim]
        return _mean(values) if values else None

    @property
    def accuracy(self) -> float | None:
        """The share of images that the classifier told for what they are; None where they have no classes."""
        values = [float(value) for scored in self.scored for value in scored.recognised]
        return _mean(values) if values else None

    @property
    def seconds(self) -> float:
        """Of all images of a seed together, on the mean."""
        return _mean([scored.seconds for scored in self.scored])

    @property
    def nfe(self) -> float:
        """Evaluations of the diffusion network for each image, on the mean."""
        return _mean([scored.nfe for scored in self.scored])

    @property
    def iterations(self) -> float:
        """Steps of untrained networks for each image, on the mean."""
        return _mean([scored.iterations for scored in self.scored])

    @property
    def runs(self) -> float:
        """Restarts or samples that its result is the mean of."""
        return _mean([scored.runs for scored in self.scored])

    def figures(self) -> dict[str, str]:
        """What a table says of it, by the head of its column; what nobody measured is left out."""
        numbers = {
            "PSNR": f"{self.mean:.2f}",
            "SSIM": "" if self.ssim is None else f"{self.ssim:.3f}",
            "class": "" if self.accuracy is None else f"{self.accuracy:.0%}",
            "NFE": f"{self.nfe:.0f}" if self.nfe else "",
            "iter": f"{self.iterations:.0f}" if self.iterations else "",
            "runs": f"{self.runs:.0f}" if self.runs > 1 else "",
            "seconds": f"{self.seconds:.1f}",
        }
        return {head: text for head, text in numbers.items() if text}


@dataclass
class Cell:
    """All methods on one task and one set."""

    task: str
    set: str
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As a heading has it."""
        return f"{self.task} on {self.set}" if self.set else self.task

    def parent(self, family: str, hybrid: str) -> Row | None:
        """The best form, in this cell, of a parent (`DIP` or `DDPM`) that has had no more time than the hybrid."""
        keys = [(form, of) for form in PARENTS[family] for of in (hybrid, "")]
        found = [self.rows[key] for key in keys if key in self.rows]
        return max(found, key=lambda row: row.mean, default=None)

    def better_parent(self, hybrid: str) -> Row | None:
        """The better one of the two, by the mean of the cell."""
        found = [row for family in PARENTS if (row := self.parent(family, hybrid))]
        return max(found, key=lambda row: row.mean, default=None)

    def differences(self, hybrid: str, against: str = "") -> list[float]:
        """PSNR of the hybrid minus that of the better parent, or of the one named `against`, image by image."""
        ours = self.rows.get((hybrid, ""))
        theirs = self.parent(against, hybrid) if against else self.better_parent(hybrid)
        if ours is None or theirs is None:
            return []
        return [a - b for a, b in zip(ours.psnr, theirs.psnr, strict=False)]

    def gain(self, hybrid: str, against: str = "") -> Interval | None:
        """The mean of `differences`, with its bounds; None where there is nothing to compare."""
        found = self.differences(hybrid, against)
        return interval(found) if found else None

    def verdict(self, hybrid: str) -> str:
        """The hybrid minus the better parent in as long, with its bounds; empty without either."""
        parent, gain = self.better_parent(hybrid), self.gain(hybrid)
        return f"{hybrid} - {parent.method}: {gain} dB" if parent and gain else ""


class Scoreboard:
    """What `restoration_scored` events say, in the order in which they came."""

    def __init__(self, scored: Iterable[RestorationScored]) -> None:
        self.cells: dict[tuple[str, str], Cell] = {}
        for event in scored:
            cell = self.cells.setdefault((event.task, event.set), Cell(event.task, event.set))
            key = (event.method, event.budget_of)
            row = cell.rows.setdefault(key, Row(*key))
            row.scored = [*(before for before in row.scored if before.seed != event.seed), event]

    @property
    def hybrids(self) -> list[str]:
        """The hybrids on the board."""
        return list(
            dict.fromkeys(method for cell in self.cells.values() for method, _ in cell.rows if method in HYBRIDS)
        )

    def groups(self) -> dict[str, list[Cell]]:
        """The cells over which means are taken: inpainting, the others, and all; only those with several."""
        everything = list(self.cells.values())
        inpainting = [cell for cell in everything if cell.task.startswith("inpaint")]
        others = [cell for cell in everything if cell not in inpainting]
        return {
            name: cells
            for name, cells in (("inpainting", inpainting), ("others", others), ("all", everything))
            if len(cells) > 1 and (name == "all" or len(cells) < len(everything))
        }

    def gain(self, hybrid: str, cells: Sequence[Cell], against: str = "") -> Interval | None:
        """The mean over cells; an image that several tasks have degraded is one observation, on the mean of them."""
        by_set: dict[str, list[list[float]]] = {}
        for cell in cells:
            if found := cell.differences(hybrid, against):
                by_set.setdefault(cell.set, []).append(found)
        strata = [[_mean(values) for values in zip(*tasks, strict=False)] for tasks in by_set.values()]
        return pooled(strata) if strata else None

    def headline(self) -> str:
        """The gain of the first hybrid over the better parent, on the mean of all cells; empty without one."""
        gain = self.gain(self.hybrids[0], list(self.cells.values())) if self.hybrids else None
        return f"{gain.mean:+.2f} dB" if gain else ""

    def means(self) -> list[str]:
        """What comes of several cells: each hybrid against the better parent of each, and against either parent."""
        return [
            f"{hybrid} - {against or 'better parent'}, mean of {len(cells)} {name}: {gain} dB"
            for hybrid in self.hybrids
            for name, cells in self.groups().items()
            for against in ("", *PARENTS)
            if (gain := self.gain(hybrid, cells, against))
        ]

    def verdicts(self) -> list[str]:
        """What comes of it all: the means over cells, or where there is a single one, its gains."""
        return self.means() or [
            f"{cell.name}: {text}"
            for cell in self.cells.values()
            for hybrid in self.hybrids
            if (text := cell.verdict(hybrid))
        ]

    def lines(self, width: int = 79, *, newest_first: bool = False) -> list[str]:
        """The board as text: a table for each cell below its gains, and the means over cells.

        Columns that `width` has no room for are left out; the newest cell can stand first, for whoever watches.
        """
        keys = list(dict.fromkeys(key for cell in self.cells.values() for key in cell.rows))
        label = max((len(_label(*key)) for key in keys), default=0) + 2
        heads = [head for head in HEADS if label + sum(HEADS[h] for h in _FIRST[: _FIRST.index(head) + 1]) <= width]
        blocks = [self._block(cell, keys, label, heads) for cell in self.cells.values()]
        means = [self.means()] if self.groups() else []
        blocks = [*means, *reversed(blocks)] if newest_first else [*blocks, *means]
        return [line for block in blocks for line in ("", *block)][1:]

    def _block(self, cell: Cell, keys: Sequence[tuple[str, str]], label: int, heads: Sequence[str]) -> list[str]:
        verdicts = filter(None, map(cell.verdict, self.hybrids))
        lines = [cell.name, *(f"  {text}" for text in verdicts)]
        lines.append("  method".ljust(label) + "".join(head.rjust(HEADS[head]) for head in heads))
        for key in keys:
            row = cell.rows.get(key)
            told = row.figures() if row else {"PSNR": "n/a"}
            lines.append(f"  {_label(*key)}".ljust(label) + "".join(told.get(h, "").rjust(HEADS[h]) for h in heads))
        return [line.rstrip() for line in lines]


HEADS = {"PSNR": 6, "SSIM": 6, "class": 6, "NFE": 6, "iter": 6, "runs": 5, "seconds": 8}
"""The columns and how wide they are."""
_FIRST = ("PSNR", "seconds", "SSIM", "class", "NFE", "iter", "runs")
"""The columns in the order in which room is given to them."""


def _label(method: str, budget_of: str) -> str:
    return f"{method} @{budget_of}" if budget_of else method


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
