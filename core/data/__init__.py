"""Data sets: locating, verifying, downloading, and loading each into one tensor. Importing this loads no torch.

`load` reads a split into an `ImageSet`; `check` raises an error for a missing data set before any work starts;
`locations` lists the data sets on this machine, and `fetch` downloads the others.
"""

from dipddpm.core.data.catalogue import CATALOGUE, Split
from dipddpm.core.data.imageset import ImageSet, hold_out, load
from dipddpm.core.data.locate import cache_folder, check, fetch, locations, problems

__all__ = [
    "CATALOGUE",
    "ImageSet",
    "Split",
    "cache_folder",
    "check",
    "fetch",
    "hold_out",
    "load",
    "locations",
    "problems",
]
