"""The location of the reference runs: finished runs that ship with the program, for viewing, using and forking."""

from __future__ import annotations

from pathlib import Path

from dipddpm.core.config.paths import SHIPPED

FOLDER = Path(__file__).parents[1] / "assets" / "reference-runs"
"""The folder of the reference runs, inside the package, so that checkouts and installed wheels have the same path."""
NAME = "reference"
"""The name that options accept, in place of a run, for the trained prior of FashionMNIST among the reference runs."""
PRIOR = "20261123-131021-ddpm-0fc3"
"""The id of that prior's run: our U-Net, 20 epochs of FashionMNIST with the preset cpu."""
LEAVES = "20261128-201600-ddpm-1eaf"
"""The id of the run of the prior `leaves`: our U-Net on patches of drawn dead leaves, for pictures of any size."""
SMALL = (
    "20261129-202536-ddpm-bf39",
    "20261129-202532-ddpm-2c21",
    "20261129-204147-ddpm-9b8b",
    "20261129-210943-ddpm-deb5",
)
"""The ids of the runs of priors like `reference`: of drawn dead leaves alone, and of 50, 500 and 5,000 images."""
RUNS = dict(zip(SHIPPED, (PRIOR, LEAVES, *SMALL), strict=True))
"""The ids of the priors' runs, by the names that options accept in place of a run."""


def prior_folder(run: str) -> Path:
    """Return the folder of the run that a config names as its prior: a path, or a name in `RUNS`."""
    return FOLDER / RUNS[run] if run in RUNS else Path(run)
