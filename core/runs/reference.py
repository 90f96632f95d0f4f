"""Where the reference runs are: finished runs that ship with the program, to be looked at, used and forked."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "assets" / "reference-runs"
"""In the package itself, so that a checkout and an installed wheel find them at the same place."""
NAME = "reference"
"""The word that names the trained prior among them wherever a run is asked for."""
PRIOR = "20261123-131021-ddpm-0fc3"
"""Our U-Net, 20 epochs of FashionMNIST with the preset cpu."""


def prior_folder(run: str) -> Path:
    """The folder of the run that a config names as its prior: a path, or `reference`."""
    return FOLDER / PRIOR if run == NAME else Path(run)
