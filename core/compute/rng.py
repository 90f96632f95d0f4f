"""One seed for a whole run, and from it one of its own for everything that draws."""

from __future__ import annotations

import hashlib


def derive(seed: int, purpose: str) -> int:
    """A seed in [0, 2^63) for one purpose ("training", "samples"), unrelated to those of other purposes and seeds.

    With a generator each, one part of a run can draw more or less without changing what another part sees.
    """
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
