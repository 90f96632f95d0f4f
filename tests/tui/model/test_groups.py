from __future__ import annotations

from core import config as configs
from core.runs import Run, State
from tests.tui.driving import Maker
from tui.model.combinations import MOST_CURVES, MOST_DRAWN, Combinations
from tui.model.groups import GroupRow, gather
from tui.model.runlist import RunRow, row_of


def row(name: str, group: str = "", state: State = State.finished, **more: object) -> RunRow:
    return RunRow(id=f"id {name}", name=name, group=group, state=state, **more)  # type: ignore[arg-type]


def names(rows: list[RunRow | GroupRow]) -> list[str]:
    return [one.name for one in rows]


ROWS = [row("alone"), row("lr=10", "g"), row("other"), row("lr=2", "g"), row("single", "h")]


def test_a_group_stands_where_its_first_run_would_and_is_folded() -> None:
    found = gather(ROWS, set(), by_name=True)
    assert names(found) == ["alone", "g", "other", "single"]
    header = found[1]
    assert isinstance(header, GroupRow)
    assert (header.runs, header.unfolded, header.finished) == (("id lr=2", "id lr=10"), False, 2)


def test_an_unfolded_one_has_its_runs_beneath_it() -> None:
    assert names(gather(ROWS, {"g", "h"}, by_name=True)) == ["alone", "g", "lr=2", "lr=10", "other", "single"]
    assert names(gather(ROWS, {"g"}, by_name=False)) == ["alone", "g", "lr=10", "lr=2", "other", "single"]


def test_its_sign_is_that_of_what_happens_and_its_progress_that_of_all() -> None:
    states = [State.finished, State.failed, State.queued, State.running]
    rows = [
        row(str(state), "g", state, progress=share) for state, share in zip(states, (1, 0.5, None, 0.25), strict=True)
    ]
    (header,) = gather(rows, set(), by_name=True)
    assert isinstance(header, GroupRow)
    assert header.state is State.running
    assert header.states == ((State.running, 1), (State.queued, 1), (State.failed, 1), (State.finished, 1))
    assert header.progress == 0.43
    (header,) = gather(rows[:2], set(), by_name=True)
    assert header.state is State.failed


def test_no_folder_of_a_run_is_called_as_a_header_is() -> None:
    (header,) = gather([row("a", "g"), row("b", "g")], set(), by_name=True)
    assert "/" in header.id


def combined(make: Maker, *made: Run) -> tuple[Combinations, list[RunRow]]:
    found = Combinations()
    rows = [row_of(run.look()) for run in made]
    assert found.lacks(rows) == [run.id for run in made]
    found.read(made)
    assert found.lacks(rows) == []
    return found, rows


def test_combinations_differ_in_more_than_their_seeds(make: Maker) -> None:
    runs = [make("dip", psnr=[20.0], settings={"dip.lr": lr, "seed": seed}) for lr in (0.2, 0.1) for seed in (0, 1)]
    found, rows = combined(make, *runs)
    assert [(one.title, [row.id for row in one.rows], one.colour) for one in found.of(rows)] == [
        ("lr=0.1", [run.id for run in runs[2:]], 0),
        ("lr=0.2", [run.id for run in runs[:2]], 1),
    ]
    assert [one.title for one in found.of(rows[:2])] == ["all alike"]


def test_of_many_combinations_the_best_are_drawn() -> None:
    found = Combinations()
    rates = [round(0.01 * n, 2) for n in range(1, 13)]
    rows = [row(f"{lr} {seed}", "g", psnr=20 + 10 * lr) for lr in rates for seed in range(6)]
    for one in rows:
        config = configs.build("dip", settings={"dip.lr": one.name.split()[0], "seed": int(one.name.split()[1])})
        found._tables[one.id] = {"dip.lr": str(config.dip.lr), "seed": str(config.seed)}  # type: ignore[union-attr]
    all_ = found.of(rows)
    assert len(all_) == 12
    drawn = [one for one in all_ if one.drawn]
    assert [one.title for one in drawn] == [f"lr={lr:g}" for lr in rates[-MOST_DRAWN:]]
    assert [one.colour for one in drawn] == list(range(MOST_DRAWN))
    assert sum(len(one.drawn) for one in drawn) <= MOST_CURVES
