"""The scoreboard: which methods it compares, on which images, and with which confidence bounds."""

from __future__ import annotations

import json

import msgspec
import pytest
from scipy import stats

from dipddpm.core.evaluation.intervals import Interval
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import Event, RestorationMissing, RestorationScored
from dipddpm.core.report import restore

HYBRID = "substitution"


def score(method: str, psnr: list[float], *, of: str = "", task: str = "denoise", seed: int = 0) -> RestorationScored:
    return RestorationScored(task=task, set="glyphs", method=method, psnr=psnr, budget_of=of, seed=seed, seconds=2.0)


def missing(method: str, why: str, *, failed: bool = False, task: str = "denoise", seed: int = 0) -> RestorationMissing:
    return RestorationMissing(task=task, set="glyphs", method=method, why=why, failed=failed, seed=seed)


def test_baseline_is_best_score_of_its_cell() -> None:
    board = Scoreboard(
        [
            score(HYBRID, [21.0, 23.5]),
            score("dip-mean", [20.0, 22.0], of=HYBRID),
            score("ddpm-mean", [19.0, 20.0], of=HYBRID),
            score("posterior-mean", [22.0, 21.0]),
            score("ddnm-100", [40.0, 40.0]),
            score("dip-mean", [30.0, 30.0], of="another"),
        ]
    )
    (cell,) = board.cells.values()
    assert cell.baseline(HYBRID) is cell.rows["posterior-mean", ""]
    assert cell.differences(HYBRID) == [-1.0, 2.5]
    assert cell.differences(HYBRID, "DIP") == [1.0, 1.5]
    assert board.hybrids == [HYBRID]


def test_cell_gain_counts_image_once_over_seeds() -> None:
    seeds = [
        (
            score(HYBRID, [20.0 + seed, 24.0, 19.0], seed=seed),
            score("dip-mean", [20.0, 22.0, 20.0], of=HYBRID, seed=seed),
        )
        for seed in range(3)
    ]
    board = Scoreboard([event for pair in seeds for event in pair])
    (cell,) = board.cells.values()
    oracle = stats.ttest_rel([21.0, 24.0, 19.0], [20.0, 22.0, 20.0]).confidence_interval(0.95)
    gain = cell.gain(HYBRID)
    assert gain is not None
    assert gain.lower is not None
    assert gain.upper is not None
    assert (round(gain.lower, 6), round(gain.upper, 6)) == (round(oracle.low, 6), round(oracle.high, 6))


def test_scoreboard_group_gain_counts_image_once_over_tasks() -> None:
    events = []
    for task, ours in (
        ("inpaint:missing=0.7", [21.0, 22.0]),
        ("inpaint:missing=0.5", [23.0, 22.0]),
        ("denoise", [9.0, 9.0]),
    ):
        events += [score(HYBRID, ours, task=task), score("dip-mean", [20.0, 20.0], of=HYBRID, task=task)]
    board = Scoreboard(events)
    groups = board.groups()
    assert {name: len(cells) for name, cells in groups.items()} == {"inpainting": 2, "all": 3}
    gain = board.gain(HYBRID, groups["inpainting"])
    assert gain is not None
    assert gain == Interval(2.0, 2.0, 2.0)


def test_scoreboard_takes_last_score_after_resume() -> None:
    board = Scoreboard([score("dip", [1.0]), score("dip", [3.0])])
    (cell,) = board.cells.values()
    assert cell.rows["dip", ""].psnr == [3.0]


def test_scoreboard_lines_show_missing_results_within_width() -> None:
    board = Scoreboard(
        [
            score(HYBRID, [21.0, 21.0]),
            score("dip-mean", [20.0, 20.5], of=HYBRID),
            score("posterior-mean", [9.0, 9.5]),
            score(HYBRID, [21.0, 21.0], task="inpaint:missing=0.7,sigma=5"),
        ]
    )
    lines = board.lines()
    assert lines[0] == "denoise on glyphs"
    assert f"  {HYBRID} - dip-mean: +0.75 [" in lines[1]
    assert lines[3].split() == [HYBRID, "21.00", "2.0"]
    assert f"  dip-mean @{HYBRID}" in lines[4]
    assert [line.split()[-1] for line in lines[7:] if "dip-mean" in line or "posterior" in line] == ["n/a", "n/a"]
    assert max(map(len, lines)) < 80
    narrow = board.lines(34, newest_first=True)
    cells = [line for line in narrow if " on glyphs" in line]
    assert cells == ["inpaint:missing=0.7,sigma=5 on glyphs", "denoise on glyphs"]
    assert {tuple(line.split()) for line in narrow if "method" in line} == {("method", "PSNR")}


def test_scoreboard_drops_method_that_failed_with_one_seed() -> None:
    hybrid, baselines = score(HYBRID, [21.0], seed=0), [score("dip-mean", [20.0], of=HYBRID, seed=s) for s in (0, 1)]
    failure = missing(HYBRID, "it broke.", failed=True, seed=1)
    histories: list[list[Event]] = [[hybrid, *baselines, failure], [failure, hybrid, *baselines]]
    for history in histories:
        (cell,) = Scoreboard(history).cells.values()
        assert not cell.rows
        assert cell.gain(HYBRID) is None


def test_scoreboard_gives_no_gain_when_baseline_failed() -> None:
    history: list[Event] = [
        score(HYBRID, [21.0, 22.0]),
        score("ddpm-mean", [20.0, 20.5], of=HYBRID),
        missing("dip-mean", "it broke.", failed=True),
        missing("posterior-mean", "not its task."),
    ]
    (cell,) = Scoreboard(history).cells.values()
    assert cell.gain(HYBRID) is None
    assert cell.gain(HYBRID, "DIP") is None
    gain_over_ddpm = cell.gain(HYBRID, "DDPM")
    assert gain_over_ddpm is not None
    assert gain_over_ddpm.mean == 1.25
    for task in ("deblur", "superres"):
        history += [score(HYBRID, [25.0, 26.0], task=task), score("dip-mean", [24.0, 24.0], of=HYBRID, task=task)]
    means = Scoreboard(history).means()
    assert [text.partition(":")[0] for text in means] == [
        f"{HYBRID} - {against}" for against in ("better baseline", "DIP")
    ]
    assert all(text.endswith(" dB, mean of 2 cells") for text in means)


def test_scoreboard_absences_list_each_reason_once() -> None:
    board = Scoreboard(
        [
            score(HYBRID, [21.0]),
            missing("conditioned", "no network."),
            missing("guided", "RuntimeError: NaN", failed=True),
            score(HYBRID, [21.0], task="deblur"),
            missing("conditioned", "no network.", task="deblur"),
        ]
    )
    assert board.absences() == ["conditioned n/a: no network.", "guided failed (denoise on glyphs): RuntimeError: NaN"]
    lines = board.lines()
    assert lines[-2:] == board.absences()
    assert [line.split() for line in lines if line.startswith("  guided")] == [["guided", "failed"], ["guided", "n/a"]]
    assert all(len(line) <= 34 for line in board.lines(34)[-6:])
    # A pane without a size yet passes a width below zero.
    assert board.lines(-2)[-1].strip()


def test_scoreboard_headline_covers_cells_of_first_hybrid() -> None:
    assert Scoreboard([score("dip", [20.0])]).headline() is None
    headline = Scoreboard(
        [
            score(HYBRID, [21.0, 23.0]),
            score("dip-mean", [20.0, 20.0], of=HYBRID),
            score("dip", [9.0, 9.0], task="deblur"),
        ]
    ).headline(step=7)
    assert headline is not None
    fields = (headline.method, headline.psnr, headline.cells, headline.gain, headline.step)
    assert fields == (HYBRID, 22.0, 1, 2.0, 7)
    alone = Scoreboard([score(HYBRID, [21.0])]).headline()
    assert alone is not None
    assert (alone.psnr, alone.gain) == (21.0, None)


def test_cell_verdicts_compare_hybrid_with_its_control() -> None:
    board = Scoreboard([score("conditioned", [21.0, 22.0]), score("conditioned-pinv", [20.0, 21.0])])
    (cell,) = board.cells.values()
    assert cell.verdicts() == ["conditioned - conditioned-pinv: +1.00 [+1.00, +1.00] dB"]


def cell_on(images: str, hybrid: list[float], dip: list[float], ddpm: list[float]) -> list[Event]:
    methods = [("calibrated", hybrid, ""), ("dip-mean", dip, "calibrated"), ("ddpm-mean", ddpm, "calibrated")]
    return [
        RestorationScored(task="deblur", set=images, method=method, psnr=values, budget_of=of)
        for method, values, of in methods
    ]


def test_scoreboard_summary_names_better_baseline_and_where_hybrid_stands() -> None:
    clothes = cell_on("clothes", [26.0, 27.0, 28.0], [22.0, 23.0, 24.0], [26.1, 26.9, 28.0])
    letters = cell_on("letters", [29.0, 30.1, 31.0], [27.0, 28.0, 29.0], [24.0, 24.0, 24.0])
    worse = cell_on("leaves", [20.0, 20.1, 20.0], [21.0, 21.0, 21.0], [19.0, 19.0, 19.0])
    head, columns, *rows = Scoreboard([*clothes, *letters, *worse]).summary()
    assert "the hybrid's time" in head
    assert columns.split()[:3] == ["calibrated", "DIP", "DDPM"]
    assert [row.split()[:4] for row in rows[:3]] == [
        ["clothes", "27.00", "23.00", "27.00"],
        ["letters", "30.03", "28.00", "24.00"],
        ["leaves", "20.03", "21.00", "19.00"],
    ]
    assert " ".join(rows[3:]) == (
        "The better baseline is DIP on letters and leaves, DDPM on clothes. Without knowing this, calibrated is ahead "
        "of it on letters, level with it on clothes, behind it on leaves."
    )


def test_scoreboard_summary_leaves_out_cell_without_both_baselines() -> None:
    events = cell_on("clothes", [26.0, 27.0], [22.0, 23.0], [26.1, 26.9])
    assert Scoreboard(events[:-1]).summary() == []
    assert Scoreboard([]).summary() == []


def test_exact_restorations_are_equal_and_shown_as_exact() -> None:
    """Images equal to the truth have an infinite PSNR; two of them differ by nothing."""
    exact = float("inf")
    scores = [
        score(HYBRID, [exact, 21.0]),
        *(score(name, [exact, 20.0], of=HYBRID) for name in ("dip-mean", "ddpm-mean")),
    ]
    board = Scoreboard(scores)
    (cell,) = board.cells.values()
    assert cell.differences(HYBRID) == [0.0, 1.0]
    texts = cell.rows[HYBRID, ""].table_cells()
    assert (texts["PSNR"], texts["exact"]) == ("21.00", "1")
    assert [line.split()[:3] for line in board.lines() if "PSNR" in line] == [["method", "PSNR", "exact"]]
    headline = board.headline()
    assert headline is not None
    assert (headline.psnr, headline.exact, headline.gain) == (21.0, 1, 0.5)


def test_gain_leaves_out_images_that_one_method_restores_exactly() -> None:
    exact = float("inf")
    scores = [score(HYBRID, [exact, 21.0, 23.0, 22.0]), score("dip-mean", [30.0, 20.0, exact, 20.0], of=HYBRID)]
    board = Scoreboard([*scores, score("ddpm-mean", [19.0, 19.0, 19.0, 19.0], of=HYBRID)])
    (cell,) = board.cells.values()
    gain = cell.gain(HYBRID)
    assert gain is not None
    assert (gain.mean, gain.left_out) == (1.5, 2)
    headline = board.headline()
    assert headline is not None
    assert (headline.gain, headline.left_out) == (1.5, 2)
    text = restore.as_json(board)
    assert json.loads(text, parse_constant=pytest.fail)["cells"][0]["methods"][0]["exact"] == 1


def test_board_of_one_image_shows_no_bounds() -> None:
    scores = [score(HYBRID, [21.0]), *(score(name, [20.0], of=HYBRID) for name in ("dip-mean", "ddpm-mean"))]
    board = Scoreboard(scores)
    for lines in (board.lines(), board.verdicts(), board.summary()):
        assert "+1.00 [one image: no bounds]" in "\n".join(lines)
    gain = json.loads(restore.as_json(board))["cells"][0]["gain"][HYBRID]
    assert (gain["mean"], gain["lower"], gain["upper"]) == (1.0, None, None)


def test_cell_lists_what_methods_know_below_its_table() -> None:
    known = {"nlm": ("noise level",), "tv": ("noise level",), "pinv": (), "median": ("impulse share",)}
    events = [msgspec.structs.replace(score(method, [20.0]), knows=knows) for method, knows in known.items()]
    expected = ["  knows noise level: nlm, tv", "  knows no more: pinv", "  knows impulse share: median"]
    assert Scoreboard(events).lines()[-3:] == expected
    assert "knows" not in "".join(Scoreboard([score("nlm", [20.0])]).lines()), "a log of an earlier version"
    narrow = Scoreboard([msgspec.structs.replace(events[0], knows=("a" * 9, "b" * 9))]).lines(20)
    assert max(map(len, narrow)) <= 20
