"""The map of gains: which rows belong to a cell of a prior, and the signs of the gains."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.evaluation.boards import board_of
from dipddpm.core.evaluation.gain_map import MapBoard, counts, sign, split, with_prior
from dipddpm.core.evaluation.intervals import Interval, interval
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import RestorationScored
from dipddpm.core.report import gain_map

SMALL, LARGE = "50 of fashionmnist", "55,000 of fashionmnist"


def score(method: str, psnr: list[float], of: str = "", task: str = "inpaint:missing=0.7,sigma=5") -> RestorationScored:
    return RestorationScored(task=task, set="patches", method=method, psnr=psnr, budget_of=of, seconds=1.0)


def events(task: str = "inpaint:missing=0.7,sigma=5") -> list[RestorationScored]:
    """Return a cell in which the two gain 1 dB over DIP with the small prior, and lose 2 dB with the large one."""
    rows = [
        (f"dip-and-diffusion with {SMALL}", [21.0, 23.1, 25.0], ""),
        (f"dip-and-diffusion with {LARGE}", [23.0, 25.1, 27.0], ""),
        (f"calibrated with {SMALL}", [22.0, 24.1, 26.0], ""),
        (f"calibrated with {LARGE}", [24.0, 26.1, 28.0], ""),
        (f"without-dip with {SMALL}", [21.5, 23.6, 25.5], ""),
        (f"without-dip with {LARGE}", [24.0, 26.1, 28.0], ""),
        (f"without-diffusion with {SMALL}", [22.0, 24.1, 26.3], ""),
        (f"without-diffusion with {LARGE}", [20.0, 22.1, 24.0], ""),
        (f"ddpm-mean with {SMALL}", [18.0, 20.0, 22.0], f"calibrated with {SMALL}"),
        (f"ddpm-mean with {LARGE}", [25.0, 27.0, 29.1], f"calibrated with {LARGE}"),
        ("dip-mean", [20.0, 22.0, 24.1], f"calibrated with {SMALL}"),
        ("dip-mean", [20.2, 22.2, 24.2], f"calibrated with {LARGE}"),
    ]
    return [score(method, psnr, of, task) for method, psnr, of in rows]


@given(st.sampled_from(["calibrated", "ddpm-mean", "dip > ddnm 3 x1"]), st.text(min_size=1, max_size=20))
def test_name_of_a_row_gives_its_method_and_its_prior(method: str, prior: str) -> None:
    assert split(with_prior(method, prior)) == (method, prior)


def test_cells_measure_each_prior_against_its_own_baselines() -> None:
    small, large = MapBoard(events()).map_cells
    assert (small.prior, small.best, large.prior, large.best) == (SMALL, "dip-mean", LARGE, "ddpm-mean")
    assert small.gain == interval([1.0, 23.1 - 22.0, 25.0 - 24.1])
    assert large.gain == interval([-2.0, 25.1 - 27.0, 27.0 - 29.1])
    assert [cell.by_dip.mean for cell in (small, large)] == pytest.approx([0.5, 0])
    assert [cell.by_diffusion.mean for cell in (small, large)] == pytest.approx([-0.1, 4])
    assert (sign(small.gain), sign(large.gain)) == (1, -1)


def test_cell_waits_for_its_baselines() -> None:
    """Without DIP's baseline, the gain over the other one alone would be too large."""
    for missing in ("dip-mean", "ddpm-mean"):
        partial = [event for event in events() if not event.method.startswith(missing)]
        assert MapBoard(partial).map_cells == []


def test_table_leaves_out_columns_that_do_not_fit() -> None:
    board = MapBoard(events())
    heads = [next(line for line in board.lines(width) if "prior" in line) for width in (79, 70, 60)]
    assert [("by DIP" in head, "diffusion" in head) for head in heads] == [(True, True), (True, False), (False, False)]
    assert all(len(line) <= width for width in (79, 70, 60) for line in board.lines(width))


def test_board_is_a_map_if_rows_have_priors() -> None:
    assert isinstance(board_of(events()), MapBoard)
    assert type(board_of([score("calibrated", [20.0])])) is Scoreboard


def test_a_cell_counts_as_neither_while_zero_is_in_bounds() -> None:
    assert [sign(each) for each in (Interval(1, -0.1, 2.1), Interval(-1, None, None), Interval(0.2, 0.1, 0.3))] == [
        0,
        0,
        1,
    ]
    text = counts(MapBoard(events()).map_cells)
    assert text == "DIP + DDPM worse in 1 of 2 cells, better in 1, undecided in 0"


def test_verdicts_and_lines_name_priors_sets_and_bounds() -> None:
    board = MapBoard(events())
    assert [text.partition(":")[0] for text in board.verdicts()] == [
        "all cells",
        "on patches",
        f"prior {SMALL}",
        f"prior {LARGE}",
    ]
    lines = board.lines(100)
    assert any(SMALL in line and "+1.00" in line and "dip-mean" in line and "+0.50" in line for line in lines)
    assert board.headline() is not None


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("inpaint:missing=0.7,sigma=5", "70% missing"),
        ("inpaint:box=12,sigma=5", "box 12x12 missing"),
        ("denoise:sigma=25", "noise 25"),
        ("superres:factor=4", "1/4 of the size"),
        ("deblur:width=1.5,sigma=2", "blur 1.5"),
        ("denoise:noise=poisson,photons=30", "denoise:noise=poisson,photons=30"),
    ],
)
def test_figure_has_a_row_for_each_task_in_few_words(task: str, words: str) -> None:
    drawn = gain_map.figure(MapBoard(events(task)))
    assert list(drawn.rows.values()) == [words]
    (panel,) = drawn.panels
    assert [(mark.name, round(mark.mean), mark.excludes_zero) for mark in panel.marks] == [
        (SMALL, 1, True),
        (LARGE, -2, True),
    ]


def test_figure_groups_tasks_by_kind_and_strength() -> None:
    tasks = ["denoise:sigma=50", "inpaint:box=12", "superres:factor=4", "inpaint:missing=0.9", "denoise:sigma=5"]
    more = ["deblur:width=1", "inpaint:missing=0.3", "inpaint:box=8", "superres:factor=2"]
    drawn = gain_map.figure(MapBoard(event for task in (*tasks, *more) for event in events(task)))
    words = ["30% missing", "90% missing", "box 8x8 missing", "box 12x12 missing", "noise 5", "noise 50"]
    assert list(drawn.rows.values()) == [*words, "1/2 of the size", "1/4 of the size", "blur 1"]


def test_report_has_a_table_for_each_degradation() -> None:
    blocks = gain_map.cells(MapBoard(events()))
    assert len(blocks) == 2
