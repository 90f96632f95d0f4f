"""Read picture files with ImageMagick, the oracle of `decode`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from dipddpm.core.errors import UserError
from dipddpm.core.io.pictures import decode
from dipddpm.core.io.samples import Samples, upright
from tests.durability.random_pictures import COMMAND, SRGB_PROFILE, Made

EXACT, MANAGED = 1.01, 2.5
"""The largest difference of equal readings, in 8-bit levels; two engines round colour profiles differently, most in the
dark colours of wide gamuts."""


def read(made: Made, folder: Path) -> np.ndarray | None:
    """Return the upright sRGB colours over white, (H, W, 3) in [0, 1]; None if ImageMagick can't read the file."""
    (folder / "srgb.icc").write_bytes(SRGB_PROFILE)
    colour = ["-profile", str(folder / "srgb.icc")] if made.embedded else ["-colorspace", "sRGB"]
    turn = ["-auto-orient"] if made.orientation == 1 else []
    command = [COMMAND, f"{made.path}[0]", *turn, *colour, "-background", "white", "-alpha", "remove"]
    done = subprocess.run([*command, "-depth", "16", "ppm:-"], capture_output=True, check=False)
    if done.returncode or not done.stdout.startswith(b"P6"):
        return None
    _, size, white, pixels = done.stdout.split(b"\n", 3)
    width, height = map(int, size.split())
    values: np.ndarray = np.frombuffer(pixels, ">u2" if white == b"65535" else "u1") / int(white)
    colours = Samples(values.reshape(height, width, 3), 1)
    turned: np.ndarray = upright(colours, made.orientation).values
    return turned


def compare(made: Made, folder: Path) -> tuple[str, float]:
    """Return equal, different, refused or unread (by ImageMagick), and the largest difference in 8-bit levels."""
    theirs = read(made, folder)
    try:
        ours = decode(made.path).over_white()
    except UserError:
        return "refused", 0.0
    if theirs is None:
        return "unread", 0.0
    if ours.shape[:2] != theirs.shape[:2]:
        return "different", 255.0
    largest = float(np.abs(ours - theirs).max()) * 255
    return ("equal" if largest <= (MANAGED if made.managed else EXACT) else "different"), largest
