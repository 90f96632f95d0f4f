"""The filter language: which runs match, how errors are reported, and that parsing never raises."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.runs import RunState
from dipddpm.tui.console.model.query import FIELDS, parse
from dipddpm.tui.shared.runlist import RunRow

SWEEP = RunRow(
    id="20261123-094512-hybrid-3f9a",
    kind="hybrid",
    method="substitution",
    name="Sigma sweep, take 2",
    state=RunState.crashed,
    best_loss=0.035,
    psnr=24.5,
    epoch=4,
    progress=0.4,
    age=86400.0,
    started=1.0,
    duration=90.0,
    dataset="fashionmnist",
    device="cuda:0",
    tags=("paper", "x"),
    error="CUDA out of memory.",
)
LIVE = RunRow(id="b", kind="ddpm", method="unet", state=RunState.running, stalled=True, eta=30.0)
ROWS = (SWEEP, LIVE, RunRow(id="c", kind="dip", best_loss=math.nan))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "sweep",
        "SIGMA take",
        '"take 2"',
        "3f9a",
        "kind:hybrid",
        "kind:hyb",
        "KIND:Hybrid",
        "kind=hybrid",
        "state:crashed",
        "state:ended",
        "tag:x",
        "tags:pap",
        "tag=x",
        "tag!=y",
        "loss<0.04",
        "loss<=.035",
        "psnr>=24 psnr<25",
        "epoch>3",
        "age<2d",
        "age>=1d",
        "age<48h",
        "took:90s",
        "took<2m",
        "done<50%",
        "left:none",
        "-state:running",
        "not state:running",
        "- -kind:hybrid",
        "kind:dip | tag:x",
        "kind:dip OR tag:x",
        "(kind:dip | kind:hybrid) loss<1",
        "kind:hybrid AND sweep",
        "device:cuda",
        '"cuda:0"',
        "error:memory",
        "data:fashion",
        # still being typed
        "loss<",
        "kind:",
        "-",
        "kind:hybrid |",
        "(kind:hybrid",
        '"sigma',
        "not",
    ],
)
def test_query_matches_run(text: str) -> None:
    query = parse(text)
    assert query.problem == ""
    assert query.matches(SWEEP)


@pytest.mark.parametrize(
    "text",
    [
        "other",
        "kind:dip",
        "kind:ybrid",
        "kind=hyb",
        "tag:z",
        "tag!=x",
        "loss<0.01",
        "loss>0.035",
        "psnr>25",
        "age<1h",
        "step>1",
        "left<1h",
        "-sweep",
        "not (sweep | kind:dip)",
        "sweep kind:dip",
        "state:live",
        "loss:none",
    ],
)
def test_query_rejects_run(text: str) -> None:
    query = parse(text)
    assert query.problem == ""
    assert not query.matches(SWEEP)


def test_query_knows_live_running_stalled_and_ended() -> None:
    assert [query for query in ("live", "running", "stalled", "ended") if parse(f"state:{query}").matches(LIVE)] == [
        "live",
        "running",
        "stalled",
    ]


def test_query_never_compares_missing_or_nan_numbers() -> None:
    for text in ("loss<1", "loss>1", "loss=1", "psnr>0"):
        assert not parse(text).matches(ROWS[2])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lss<0.1", "Runs have no field 'lss'. Did you mean loss?"),
        ("loss<small", "loss can't be compared with 'small'. Give a number."),
        ("age<2y", "age can't be compared with '2y'. Give 2d, 3h or 90s."),
        ("kind<3", "kind is a text: < can't compare it. Write kind:3"),
        ("sweep)", "A closing bracket has no opening one. Remove it."),
        ("(" * 40 + "a", "The filter has too many nested brackets. Use fewer of them."),
        ("-" * 40 + "a", "The filter has too many nested brackets. Use fewer of them."),
        ("a " * 400, "The filter is longer than 500 characters."),
    ],
)
def test_query_names_problem_and_matches_all_rows(text: str, problem: str) -> None:
    query = parse(text)
    assert query.problem == problem
    assert all(map(query.matches, ROWS))


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["(", ")", "|", "-", "not", "OR", "a", '"', *FIELDS]), max_size=30).map(" ".join)
)
def test_query_never_raises(text: str) -> None:
    query = parse(text)
    assert all(query.matches(row) in {True, False} for row in ROWS)


ATOMS = st.sampled_from(["sweep", "kind:dip", "loss<0.04", "state:live", "tag:x", "age>1h", "c"])


@given(ATOMS, ATOMS, ATOMS)
def test_query_obeys_boolean_logic(one: str, other: str, third: str) -> None:
    def matching(text: str) -> list[bool]:
        query = parse(text)
        assert not query.problem
        return [query.matches(row) for row in ROWS]

    both = [x and y for x, y in zip(matching(one), matching(other), strict=True)]
    either = [x or y for x, y in zip(matching(one), matching(other), strict=True)]
    assert matching(f"{one} {other}") == both
    assert matching(f"{one} | {other}") == either
    assert matching(f"-({one} | {other})") == matching(f"-{one} -{other}") == [not x for x in either]
    assert matching(f"{one} {other} | {third}") == [x or y for x, y in zip(both, matching(third), strict=True)]
