"""The parts of the measurement in the order of their worth, and the time that each may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of all parts: the device, the folders, and whether the sizes are those of a miniature."""

    device: str = "cuda"
    miniature: bool = False
    output: str
    runs: str
    """The folder of the runs that parts make; parts with the same folder continue them."""
    published: str = ""
    """A checkout of the published training's code; empty if there is none."""
    original: str = ""
    """A checkout of the code of the DIP paper; empty if there is none."""

    def to_dict(self) -> dict[str, str | bool]:
        """Return the settings as builtin values."""
        return asdict(self)

    @property
    def runs_folder(self) -> Path:
        """The folder of the runs."""
        return Path(self.runs)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One row of the measurement: a generator of records, by its import path."""

    name: str
    title: str
    goal: str
    seconds: float
    """The time that it needs on a fast GPU."""
    path: str
    elastic: bool = False
    """True for a part that does as much as fits into its time; such parts share what the others leave."""


PARTS = (
    Part(
        name="tests",
        title="pytest -m gpu",
        goal="green, or each fault named",
        seconds=100,
        path="benchmarks.gpu.training:tests",
    ),
    Part(
        name="tutorial",
        title="The tutorial network, an epoch of 60,000 images",
        goal="under 1 s; 20 times the published code on the same GPU",
        seconds=70,
        path="benchmarks.gpu.training:tutorial",
    ),
    Part(
        name="preset",
        title="--preset gpu: 4 minutes of training, Frechet distance of 5,000 samples",
        goal="at most 0.6 of the shipped reference's",
        seconds=400,
        path="benchmarks.gpu.training:preset",
        elastic=True,
    ),
    Part(
        name="dip",
        title="DIP: 1,000 images at sigma 25 to their stops",
        goal="in the time of the original code for ten",
        seconds=30,
        path="benchmarks.gpu.fits:dip",
    ),
    Part(
        name="large",
        title="DIP: 512x512 RGB, the original's setting",
        goal="side by side with the original code",
        seconds=40,
        path="benchmarks.gpu.fits:large",
    ),
    Part(
        name="samples",
        title="5,000 samples at 19 and 60 evaluations",
        goal="images a second, share of the roofline",
        seconds=35,
        path="benchmarks.gpu.fits:samples",
    ),
    Part(
        name="board",
        title="restore --method calibrated: 24 cells of 50 images and 3 seeds",
        goal="the board of record",
        seconds=40,
        path="benchmarks.gpu.boards:board",
        elastic=True,
    ),
    Part(
        name="study",
        title="The study at its published size: reproduce --full",
        goal="the published column beside ours, whole",
        seconds=40,
        path="benchmarks.gpu.boards:study",
        elastic=True,
    ),
    Part(
        name="console",
        title="The console beside a training",
        goal="as on the CPU",
        seconds=30,
        path="benchmarks.gpu.screen:console",
    ),
)


def time_limit(parts: Sequence[Part], remaining: float) -> float:
    """Return the seconds that the first of these parts may take of the remaining ones.

    A part of a fixed size may take what it needs. An elastic part gets its share, by `seconds`, of what remains after
    the fixed parts. So whatever a part leaves over goes to the elastic parts after it.
    """
    first = parts[0]
    if not first.elastic:
        return min(first.seconds, remaining)
    fixed = sum(part.seconds for part in parts if not part.elastic)
    elastic = sum(part.seconds for part in parts if part.elastic)
    return max(0.0, remaining - fixed) * first.seconds / elastic
