"""The comparison of starts: which row counts for a start, when it is as good as pure noise, what DIP's start gains."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.evaluation.acceleration import AccelerationBoard, Variant
from dipddpm.core.evaluation.boards import board_of
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import RestorationScored
from dipddpm.core.report import acceleration


def score(method: str, psnr: float, seconds: float, *, of: str = "patches") -> RestorationScored:
    """Score two images, half a decibel apart, that took `seconds` each."""
    values = [psnr - 0.25, psnr + 0.25]
    return RestorationScored(task="inpaint", set=of, method=method, psnr=values, seconds=2 * seconds)


def events(of: str = "patches") -> list[RestorationScored]:
    return [
        score("classic", 20.0, 0.1, of=of),
        score("dip", 20.5, 2.0, of=of),
        score("noise > ddnm 10 x1", 18.0, 0.2, of=of),
        score("noise > ddnm 100 x1", 22.0, 2.5, of=of),
        score("noise > diffpir 100 x1", 22.1, 2.4, of=of),
        score("classic > ddnm 3 x1", 22.05, 0.3, of=of),
        score("classic > ddnm 10 x1", 23.0, 0.4, of=of),
        score("lle > ddnm 10 x1", 19.0, 0.2, of=of),
        score("dip > ddnm 3 x1", 22.5, 2.1, of=of),
        score("dip > ddnm 10 x1", 23.5, 2.2, of=of),
        score("dip > mixed 10 x1", 30.0, 2.2, of=of),
        score("guided", 21.0, 3.0, of=of),
    ]


@given(st.sampled_from(["noise", "lle", "dip"]), st.sampled_from(["ddnm", "in-place"]), st.integers(1, 999))
def test_label_names_its_variant(start: str, sampler: str, number: int) -> None:
    variant = Variant(start, sampler, number, 8)
    assert Variant.parse(variant.label) == variant


@pytest.mark.parametrize("name", ["dip", "diffpir-100", "calibrated", "dip > ddnm", "[b]dip > ddnm 3 x1"])
def test_names_of_other_methods_are_no_variants(name: str) -> None:
    assert Variant.parse(name) is None


def test_each_start_is_soonest_where_it_first_is_as_good_as_pure_noise() -> None:
    board = AccelerationBoard(events())
    (cell,) = board.cells.values()
    goal = board.goal(cell, 1)
    assert goal and goal[0] == Variant("noise", "diffpir", 100, 1)
    found = [(each.variant.start, each.label, each.reaches) for each in board.reached(cell, 1)]
    assert found == [
        ("classic", "classic > ddnm 3 x1", True),
        ("dip", "dip > ddnm 3 x1", True),
        ("noise", "noise > diffpir 100 x1", True),
        ("lle", "lle > ddnm 10 x1", False),
    ]
    assert [each.seconds for each in board.reached(cell, 1)] == pytest.approx([0.3, 2.1, 2.4, 0.2])


def test_wrong_uses_of_a_start_never_count_for_it() -> None:
    board = AccelerationBoard(events())
    (cell,) = board.cells.values()
    gain = board.gain_in_time(cell)
    assert gain and gain[0].method == "dip > ddnm 10 x1"


def test_gain_of_dips_start_is_over_rows_within_its_seconds() -> None:
    rows = [*events(), score("noise > ddnm 1000 x1", 40.0, 9.0), score("lle > ddnm 100 x1", 23.4, 2.15)]
    board = AccelerationBoard(rows)
    (cell,) = board.cells.values()
    gain = board.gain_in_time(cell)
    assert gain
    ours, best, differences = gain
    assert (ours.method, best.method) == ("dip > ddnm 10 x1", "lle > ddnm 100 x1")
    assert differences == pytest.approx({0: 0.1, 1: 0.1})
    headline = board.headline()
    assert headline and headline.gain == pytest.approx(0.1) and headline.cells == 1


def test_verdicts_say_which_start_is_soonest() -> None:
    board = AccelerationBoard([*events(), *events("glyphs")])
    text = board.verdicts()
    assert text[0].startswith("DIP's start - the best other start in the same time: +0.50 [+0.50, +0.50] dB (2 cells")
    assert text[1] == (
        "inpaint on patches, one sample: classic is soonest as good as pure noise at its best, in 0.3 s (ddnm, 3 NFE); "
        "pure noise takes 2.4 s (diffpir, 100 NFE)"
    )


def test_verdict_names_pure_noise_if_no_start_is_sooner() -> None:
    noise = [score("noise > ddnm 3 x8", 22.0, 0.1), score("noise > ddnm 10 x8", 21.0, 0.3)]
    text = AccelerationBoard([*noise, score("dip", 25.0, 2.0), score("dip > ddnm 3 x8", 24.0, 2.1)]).verdicts()
    assert (
        text[0]
        == "inpaint on patches, mean of 8 samples: no start is sooner than pure noise at its best, 0.1 s (ddnm, 3 NFE)"
    )


def test_table_has_each_variant_in_its_column() -> None:
    lines = AccelerationBoard(events()).lines()
    head = next(line for line in lines if "one sample" in line and "NFE" in line)
    assert head.split()[-3:] == ["3", "10", "100"]
    (row,) = [line for line in lines if line.startswith("  classic > ddnm")]
    assert row.split()[3:] == ["22.05", "23.00"]
    assert any(line.split()[:2] == ["guided", "(hybrid)"] for line in lines)


def test_table_has_seconds_of_each_start_or_never() -> None:
    lines = AccelerationBoard([*events(), score("pinv", 22.1, 1e-5), score("pinv > ddnm 3 x1", 20.0, 0.1)]).lines()
    index = next(index for index, line in enumerate(lines) if "seconds to pure noise's best" in line)
    starts, seconds = lines[index].split()[-5:], lines[index + 1].split()[-5:]
    expected = {"noise": "2.4", "classic": "0.3", "lle": "never", "dip": "2.1", "pinv": "<0.001"}
    assert dict(zip(starts, seconds, strict=True)) == expected
    assert "one sample, >=22.00" in lines[index + 1]


def test_log_without_starts_has_the_usual_board() -> None:
    assert type(board_of([score("guided", 20, 1.0)])) is Scoreboard
    assert isinstance(board_of(iter(events())), AccelerationBoard)


def test_figure_has_a_line_for_each_start_by_seconds() -> None:
    grid = acceleration.figure(AccelerationBoard([*events(), *events("glyphs")]))
    ((first, second),) = grid.rows
    curves = {curve.name: (list(curve.x), list(curve.y)) for curve in first.curves}
    seconds, psnr = curves["kriging or bicubic"]
    assert seconds == pytest.approx([0.1, 0.3, 0.4])
    assert psnr == [20.0, 22.05, 23.0]
    assert curves["DIP at its stop"][1] == [20.5, 22.5, 23.5]
    assert curves["pure noise"][1] == [18.0, 22.1]
    assert first.title == "inpaint\non patches" and second.title == "inpaint\non glyphs"
