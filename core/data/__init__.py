"""Data sets: found, verified, downloaded, and held in memory as one tensor. Importing this loads no torch.

`load` reads a split into an `ImageSet`; `check` refuses what isn't here before any work starts; `locations` lists what
is, and `fetch` gets what isn't.
"""

from dipddpm.core.data.catalogue import CATALOGUE, Split
from dipddpm.core.data.imageset import ImageSet, hold_out, load
from dipddpm.core.data.locate import cache_folder, check, fetch, locations

__all__ = ["CATALOGUE", "ImageSet", "Split", "cache_folder", "check", "fetch", "hold_out", "load", "locations"]
