"""The scoreboard: which methods it compares, on which images, and with which confidence bounds."""

from __future__ import annotations

import itertools
import json
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dipddpm.core.evaluation.cell import YARDSTICKS
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
    assert cell.best(HYBRID, "plain") is cell.best(HYBRID, "equal") is cell.rows["posterior-mean", ""]
    assert cell.differences(HYBRID, "plain") == {0: -1.0, 1: 2.5}
    assert cell.best(HYBRID, "all") is cell.rows["ddnm-100", ""]
    assert cell.differences(HYBRID, "all") == {0: -19.0, 1: -16.5}
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
    gain = cell.gain(HYBRID, "plain")
    assert gain is not None
    assert gain.lower is not None
    assert gain.upper is not None
    assert (round(gain.lower, 6), round(gain.upper, 6)) == (round(oracle.low, 6), round(oracle.high, 6))


def test_mean_gain_counts_image_once_over_tasks() -> None:
    events = []
    for task, ours in (
        ("inpaint:missing=0.7", [21.0, 22.0]),
        ("inpaint:missing=0.5", [23.0, 22.0]),
        ("denoise:noise=salt-and-pepper,hit=0.1", [29.0, 39.0]),
    ):
        events += [score(HYBRID, ours, task=task), score("dip-mean", [20.0, 20.0], of=HYBRID, task=task)]
    board = Scoreboard(events)
    gain = board.gain(HYBRID, "plain", impulses=False)
    assert gain is not None
    assert gain.interval == Interval(2.0, 2.0, 2.0)
    assert gain.size == "2 cells, 2 images, 1 seed"
    first, *_ = board.means()
    assert first.startswith(f"{HYBRID} - the best of all rows: +6.00 [")
    assert first.endswith(" dB (3 cells, 2 images, 1 seed); without impulses +2.00 [+2.00, +2.00] dB (2 cells)")


def test_three_gains_come_smallest_first_and_worst_cell_is_named() -> None:
    events = []
    for task, classic in (("denoise", 23.5), ("denoise:noise=salt-and-pepper,hit=0.1", 19.0)):
        rows = {(HYBRID, ""): 23.0, ("dip-mean", HYBRID): 20.0, ("dip-equal", HYBRID): 22.0, ("kriging", ""): classic}
        events += [score(name, [psnr, psnr + 1], of=of, task=task) for (name, of), psnr in rows.items()]
    board = Scoreboard(events)
    cell = board.cells["denoise", "glyphs"]
    assert cell.verdicts() == [
        f"{HYBRID} - kriging: -0.50 [-0.50, -0.50] dB (best of all rows)",
        f"{HYBRID} - dip-equal: +1.00 [+1.00, +1.00] dB (best with equal tricks)",
        f"{HYBRID} - dip-mean: +3.00 [+3.00, +3.00] dB (best plain)",
    ]
    *texts, worst = board.means()
    assert [text.partition(" dB ")[0] for text in texts] == [
        f"{HYBRID} - the best of all rows: +0.25 [+0.25, +0.25]",
        f"{HYBRID} - the best baseline with equal tricks: +1.00 [+1.00, +1.00]",
        f"{HYBRID} - the better plain baseline: +3.00 [+3.00, +3.00]",
    ]
    assert texts[0].endswith("; without impulses -0.50 [-0.50, -0.50] dB (1 cell)")
    assert worst == (
        f"{HYBRID}, worst cell: denoise on glyphs, -0.50 [-0.50, -0.50] dB against kriging; 1 of 2 cells below -0.1 dB"
    )
    headline = board.headline()
    assert headline is not None
    assert (headline.gain, headline.against) == (0.25, "the best of all rows")
    assert (headline.cells, headline.images, headline.seeds) == (2, 2, 1)


@given(
    st.dictionaries(
        st.sampled_from(["dip-mean", "ddpm-mean", "dip-equal", "ddpm-equal", "posterior-mean", "nlm", "ddnm-10"]),
        st.lists(st.floats(5, 60), min_size=3, max_size=3),
        min_size=1,
    )
)
def test_gain_over_more_rows_is_never_larger(others: dict[str, list[float]]) -> None:
    board = Scoreboard([score(HYBRID, [20.0, 30.0, 25.0]), *(score(name, psnr) for name, psnr in others.items())])
    (cell,) = board.cells.values()
    gains = [gain.mean for yardstick in YARDSTICKS if (gain := cell.gain(HYBRID, yardstick))]
    assert all(gain <= more + 1e-9 for gain, more in itertools.pairwise(gains))


def test_old_board_names_cells_without_equal_tricks() -> None:
    events = []
    for task in ("denoise", "deblur"):
        rows = {HYBRID: 23.0, "dip-mean": 20.0, "classic": 21.0}
        events += [score(name, [psnr, psnr + 1], task=task) for name, psnr in rows.items()]
    board = Scoreboard(events)
    assert board.gain(HYBRID, "equal") == board.gain(HYBRID, "plain")._replace(yardstick="equal")  # type: ignore[union-attr]
    equal = next(text for text in board.means() if "equal tricks" in text)
    assert equal.endswith(". In 1 cell with impulses or a blur the baselines had no equal tricks")
    assert not any("equal" in text for text in board.cells["deblur", "glyphs"].verdicts())


def sliced(method: str, psnr: list[float], cuts: list[int], seeds: int = 1) -> list[RestorationScored]:
    """Return the scores of a row in slices that begin at 0 and at each cut."""
    ends = [*cuts, len(psnr)]
    return [
        msgspec.structs.replace(score(method, psnr[first:end], seed=seed), first=first, nfe=first + 1)
        for seed in range(seeds)
        for first, end in zip([0, *cuts], ends, strict=True)
    ]


@given(
    st.lists(st.floats(5, 60), min_size=4, max_size=9),
    st.sets(st.integers(1, 3), max_size=3),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_slices_in_any_order_join_to_whole_row(psnr: list[float], cuts: set[int], seeds: int, random: Random) -> None:
    worse = [value - 1 for value in psnr]
    events = [*sliced(HYBRID, psnr, sorted(cuts), seeds), *sliced("dip-mean", worse, sorted(cuts), seeds)]
    random.shuffle(events)
    (cell,) = Scoreboard(events).cells.values()
    (whole,) = Scoreboard([score(HYBRID, psnr), score("dip-mean", worse)]).cells.values()
    row = cell.rows[HYBRID, ""]
    assert row.psnr == pytest.approx(psnr)
    assert cell.gain(HYBRID, "all") == pytest.approx(whole.gain(HYBRID, "all"))
    assert row.average("seconds") == 2.0 * (len(cuts) + 1)
    ends = [*sorted(cuts), len(psnr)]
    firsts = [0, *sorted(cuts)]
    nfe = sum((first + 1) * (end - first) for first, end in zip(firsts, ends, strict=True)) / len(psnr)
    assert row.average("nfe") == pytest.approx(nfe)
    assert cell.size == f"{len(psnr)} images, {seeds} seed{'' if seeds == 1 else 's'}"


def test_incomplete_slice_counts_only_once_all_rows_have_it() -> None:
    events = [*sliced(HYBRID, [21.0, 22.0, 90.0], [2]), *sliced("dip-mean", [20.0, 20.0, 20.0], [2])[:1]]
    (cell,) = Scoreboard(events).cells.values()
    assert cell.size == "2 images, 1 seed"
    assert cell.differences(HYBRID, "all") == {0: 1.0, 1: 2.0}
    assert cell.rows[HYBRID, ""].psnr == [21.0, 22.0]
    (cell,) = Scoreboard([*events, sliced("dip-mean", [20.0, 20.0, 20.0], [2])[1]]).cells.values()
    assert cell.differences(HYBRID, "all") == {0: 1.0, 1: 2.0, 2: 70.0}


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
    assert lines[0] == "denoise on glyphs (2 images, 1 seed)"
    assert f"  {HYBRID} - dip-mean: +0.75 [" in lines[1]
    assert lines[3].split() == [HYBRID, "21.00", "2.0"]
    assert f"  dip-mean @{HYBRID}" in lines[4]
    assert [line.split()[-1] for line in lines[7:] if "dip-mean" in line or "posterior" in line] == ["n/a", "n/a"]
    assert max(map(len, lines)) < 80
    narrow = board.lines(34, newest_first=True)
    assert [line.partition(" ")[0] for line in narrow if " on" in line] == ["inpaint:missing=0.7,sigma=5", "denoise"]
    assert {tuple(line.split()) for line in narrow if "method" in line} == {("method", "PSNR")}


def test_scoreboard_drops_method_that_failed_with_one_seed() -> None:
    hybrid, baselines = score(HYBRID, [21.0], seed=0), [score("dip-mean", [20.0], of=HYBRID, seed=s) for s in (0, 1)]
    failure = missing(HYBRID, "it broke.", failed=True, seed=1)
    histories: list[list[Event]] = [[hybrid, *baselines, failure], [failure, hybrid, *baselines]]
    for history in histories:
        (cell,) = Scoreboard(history).cells.values()
        assert not cell.rows
        assert cell.gain(HYBRID, "all") is None


def test_scoreboard_gives_no_gain_when_baseline_failed() -> None:
    history: list[Event] = [
        score(HYBRID, [21.0, 22.0]),
        score("ddpm-mean", [20.0, 20.5], of=HYBRID),
        missing("dip-mean", "it broke.", failed=True),
        missing("posterior-mean", "not its task."),
    ]
    (cell,) = Scoreboard(history).cells.values()
    assert [cell.gain(HYBRID, yardstick) for yardstick in YARDSTICKS] == [None, None, None]


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
    assert cell.verdicts() == ["conditioned - conditioned-pinv: +1.00 [+1.00, +1.00] dB (best of all rows)"]


def test_network_of_normalized_images_is_a_hybrid_and_no_rival() -> None:
    scores = {"calibrated": [21.0, 22.0], "conditioned-normalized": [25.0, 26.0], "kriging": [20.0, 21.0]}
    (cell,) = Scoreboard([score(method, psnr) for method, psnr in scores.items()]).cells.values()
    best = cell.best("calibrated", "all")
    assert best is not None and best.method == "kriging"
    assert cell.hybrids == ["calibrated", "conditioned-normalized"]


def cell_on(images: str, hybrid: list[float], dip: list[float], ddpm: list[float]) -> list[Event]:
    methods = [("calibrated", hybrid, ""), ("dip-mean", dip, "calibrated"), ("ddpm-mean", ddpm, "calibrated")]
    return [
        RestorationScored(task="deblur", set=images, method=method, psnr=values, budget_of=of)
        for method, values, of in methods
    ]


def test_scoreboard_summary_names_best_row_of_each_cell() -> None:
    clothes = cell_on("clothes", [26.0, 27.0, 28.0], [22.0, 23.0, 24.0], [26.1, 26.9, 28.0])
    letters = cell_on("letters", [29.0, 30.1, 31.0], [27.0, 28.0, 29.0], [24.0, 24.0, 24.0])
    worse = cell_on("leaves", [20.0, 20.1, 20.0], [21.0, 21.0, 21.0], [19.0, 19.0, 19.0])
    lines = Scoreboard([*clothes, *letters, *worse]).summary()
    start = next(index for index, line in enumerate(lines) if "best row" in line)
    assert lines[start].split()[:4] == ["calibrated", "plain", "equal", "best"]
    assert [row.split()[:6] for row in lines[start + 1 : start + 4]] == [
        ["clothes", "27.00", "27.00", "27.00", "27.00", "ddpm-mean"],
        ["letters", "30.03", "28.00", "28.00", "28.00", "dip-mean"],
        ["leaves", "20.03", "21.00", "21.00", "21.00", "dip-mean"],
    ]
    text = " ".join(" ".join(lines[start + 4 :]).split())
    assert "calibrated, worst cell: deblur on leaves, -0.97 [" in text
    assert text.endswith("dB against dip-mean; 1 of 3 cells below -0.1 dB")


def test_scoreboard_summary_leaves_out_cell_without_gain() -> None:
    failed = RestorationMissing(task="deblur", set="letters", method="dip-mean", why="it broke.", failed=True)
    clothes = cell_on("clothes", [26.0, 27.0], [22.0, 23.0], [26.1, 26.9])
    letters = cell_on("letters", [26.0, 27.0], [22.0, 23.0], [26.1, 26.9])
    summary = Scoreboard([*clothes, *letters, failed]).summary()
    assert any(line.split()[:1] == ["clothes"] for line in summary)
    assert not any("letters" in line for line in summary)
    assert Scoreboard([*letters, failed]).summary() == []
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
    assert cell.differences(HYBRID, "all") == {0: 0.0, 1: 1.0}
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
    gain = cell.gain(HYBRID, "plain")
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
    gain = json.loads(restore.as_json(board))["cells"][0]["gains"][HYBRID]["plain"]
    assert (gain["mean"], gain["lower"], gain["upper"]) == (1.0, None, None)


def test_cell_lists_what_methods_know_below_its_table() -> None:
    known = {"nlm": ("noise level",), "tv": ("noise level",), "pinv": (), "median": ("impulse share",)}
    events = [msgspec.structs.replace(score(method, [20.0]), knows=knows) for method, knows in known.items()]
    expected = ["  knows noise level: nlm, tv", "  knows no more: pinv", "  knows impulse share: median"]
    assert Scoreboard(events).lines()[-3:] == expected
    assert "knows" not in "".join(Scoreboard([score("nlm", [20.0])]).lines()), "a log of an earlier version"
    narrow = Scoreboard([msgspec.structs.replace(events[0], knows=("a" * 9, "b" * 9))]).lines(20)
    assert max(map(len, narrow)) <= 20
