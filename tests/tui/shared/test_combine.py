from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.core.means import PsnrMean
from dipddpm.tui.shared import combine
from dipddpm.tui.shared.combine import Spread, compute_spread, format_spread


@given(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1))
def test_compute_spread_agrees_with_numpy(values: list[float | None]) -> None:
    known = [value for value in values if value is not None]
    spread = compute_spread(values)
    if not known:
        assert spread is None
        return
    assert spread is not None
    assert spread.n == len(known)
    assert spread.mean == pytest.approx(np.mean(known), rel=1e-9, abs=1e-6)
    if len(known) == 1:
        assert spread.std is None
    else:
        assert spread.std == pytest.approx(np.std(known, ddof=1), rel=1e-6, abs=1e-6)


def test_compute_spread_keeps_nan_of_diverged_run() -> None:
    spread = compute_spread([1.0, math.nan, 2.0])
    assert spread is not None
    assert math.isnan(spread.mean)
    assert format_spread(spread, 2) == "nan"
    assert [format_spread(compute_spread(values), 2) for values in ([], [24.314], [1.0, 2.0])] == [
        "",
        "24.31",
        "1.50 ±0.71",
    ]


def tables(*settings: dict[str, object]) -> list[dict[str, str]]:
    return [combine.option_texts(f"run{n}", configs.build("dip", settings=given)) for n, given in enumerate(settings)]


def test_combine_ignores_seeds_and_names() -> None:
    options = tables(
        {"dip.lr": 0.1, "seed": 0, "name": "a", "device": "cpu"},
        {"dip.lr": 0.1, "seed": 1, "name": "b", "threads": 3},
        {"dip.lr": 0.02, "seed": 0},
    )
    assert combine.differing_options(options) == ["dip.lr"]
    assert combine.combine(options, ["dip.lr"]) == {("0.02",): [2], ("0.1",): [0, 1]}
    assert combine.combine(options, []) == {(): [0, 1, 2]}


def test_combine_sorts_values_by_number() -> None:
    indices = combine.combine(tables(*(dict[str, object]({"dip.lr": lr}) for lr in (1e-5, 10.0, 0.5, 2.0))), ["dip.lr"])
    assert [values[0] for values in indices] == ["1e-05", "0.5", "2", "10"]


def test_find_key_accepts_last_word_of_key() -> None:
    options = tables({})
    assert combine.find_key("lr", options) == "dip.lr"
    assert combine.find_key("task", options) == "task"
    assert options[0]["task"] == "denoise:sigma=25"
    with pytest.raises(UserError, match=r"no option 'dip.iteratons'. Did you mean dip.iterations\?"):
        combine.find_key("dip.iteratons", options)
    with pytest.raises(UserError, match=r"is ambiguous: dip.channels, unet.channels"):
        combine.find_key("channels", [{"dip.channels": "1", "unet.channels": "2"}])


def test_combine_keeps_run_without_config() -> None:
    assert combine.option_texts("x", None) == {"run": "x"}
    assert list(combine.combine([combine.option_texts("x", None), *tables({})], ["dip.lr"]))[-1] == ("-",)


def test_spread_of_psnr_leaves_out_exact_images_and_counts_them() -> None:
    spread = compute_spread([PsnrMean(1, 20.0), PsnrMean(2, math.inf), None, PsnrMean(0, 22.0)])
    assert spread == Spread(21.0, 2**0.5, 2, 3)
    assert format_spread(spread, 2) == "21.00 ±1.41, 3 exact"
    assert format_spread(compute_spread([PsnrMean(2, math.inf)]), 2) == "exact"
    assert format_spread(compute_spread([PsnrMean(0, math.nan), PsnrMean(0, 22.0)]), 2) == "nan"
