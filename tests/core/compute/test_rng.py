from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.compute.rng import derive

SEEDS = st.integers(0, 2**63 - 1)


@given(SEEDS, SEEDS)
def test_purposes_and_seeds_never_share_a_stream(seed: int, other: int) -> None:
    assert 0 <= derive(seed, "training") < 2**63
    assert derive(seed, "training") != derive(seed, "samples")
    assert (derive(seed, "training") == derive(other, "training")) == (seed == other)


def test_streams_stay_the_same_from_version_to_version() -> None:
    assert derive(0, "training") == 4408142417808709903
