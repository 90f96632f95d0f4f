"""Random picture files, read as ImageMagick reads them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.durability.conftest import REPORT
from tests.durability.magick import compare
from tests.durability.random_pictures import COMMAND, make

pytestmark = pytest.mark.skipif(not COMMAND, reason="ImageMagick isn't installed")
FEW, ALL, PART = 40, 300, 25


def check(seeds: range, folder: Path) -> Counter[str]:
    """Read the pictures of these seeds, and return how many are equal, refused, or unread by ImageMagick."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        made = make(seed, folder)
        result, largest = compare(made, folder)
        assert result in {"equal", "unread"}, f"seed {seed}: {result} by {largest:.2f} levels: {made.what}"
        counts[result] += 1
    return counts


@pytest.mark.process
@pytest.mark.parametrize("start", range(0, FEW, 10))
def test_decode_reads_few_random_pictures_as_imagemagick_does(tmp_path: Path, start: int) -> None:
    assert check(range(start, start + 10), tmp_path)["equal"] >= 8


@pytest.mark.durability
@pytest.mark.parametrize("start", range(FEW, FEW + ALL, PART))
def test_decode_reads_random_pictures_as_imagemagick_does(
    tmp_path: Path, start: int, pytestconfig: pytest.Config
) -> None:
    counts = check(range(start, start + PART), tmp_path)
    lines = pytestconfig.stash.setdefault(REPORT, [])
    lines.append(f"pictures {start} to {start + PART - 1}: {dict(counts)}")
    assert counts["equal"] >= 0.8 * PART
