from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.tui.shared import combine
from dipddpm.tui.shared.combine import compute_spread, format_spread


@given(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1))
def test_compute_spread_agrees_with_numpy(values: list[float | None]) -> None:
    known = [value for value in values if value is not None]
    found = compute_spread(values)
    if not known:
        assert found is None
        return
    assert found is not None
    assert found.n == len(known)
    assert found.mean == pytest.approx(np.mean(known), rel=1e-9, abs=1e-6)
    if len(known) == 1:
        assert found.std is None
    else:
        assert found.std == pytest.approx(np.std(known, ddof=1), rel=1e-6, abs=1e-6)


def test_compute_spread_keeps_nan_of_diverged_run() -> None:
    found = compute_spread([1.0, math.nan, 2.0])
    assert found is not None
    assert math.isnan(found.mean)
    assert format_spread(found, 2) == "nan"
    assert [format_spread(compute_spread(values), 2) for values in ([], [24.314], [1.0, 2.0])] == [
        "",
        "24.31",
        "1.50 ±0.71",
    ]


def tables(*settings: dict[str, object]) -> list[dict[str, str]]:
    return [combine.option_texts(f"run{n}", configs.build("dip", settings=given)) for n, given in enumerate(settings)]


def test_combine_ignores_seeds_and_names() -> None:
    found = tables(
        {"dip.lr": 0.1, "seed": 0, "name": "a", "device": "cpu"},
        {"dip.lr": 0.1, "seed": 1, "name": "b", "threads": 3},
        {"dip.lr": 0.02, "seed": 0},
    )
    assert combine.differing_options(found) == ["dip.lr"]
    assert combine.combine(found, ["dip.lr"]) == {("0.02",): [2], ("0.1",): [0, 1]}
    assert combine.combine(found, []) == {(): [0, 1, 2]}


def test_combine_sorts_values_by_number() -> None:
    found = combine.combine(tables(*(dict[str, object]({"dip.lr": lr}) for lr in (1e-5, 10.0, 0.5, 2.0))), ["dip.lr"])
    assert [values[0] for values in found] == ["1e-05", "0.5", "2", "10"]


def test_find_key_accepts_last_word_of_key() -> None:
    found = tables({})
    assert combine.find_key("lr", found) == "dip.lr"
    assert combine.find_key("task", found) == "task"
    assert found[0]["task"] == "denoise:sigma=25"
    with pytest.raises(UserError, match=r"no option 'dip.iteratons'. Did you mean dip.iterations\?"):
        combine.find_key("dip.iteratons", found)
    with pytest.raises(UserError, match=r"may be any of dip.channels, unet.channels"):
        combine.find_key("channels", [{"dip.channels": "1", "unet.channels": "2"}])


def test_combine_keeps_run_without_config() -> None:
    assert combine.option_texts("x", None) == {"run": "x"}
    assert list(combine.combine([combine.option_texts("x", None), *tables({})], ["dip.lr"]))[-1] == ("-",)
