from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dipddpm.core import config as configs
from dipddpm.core.runs import Run, RunsFolder, RunState
from dipddpm.tui.console.model.curves import SERIES_COLOURS
from dipddpm.tui.console.model.views import MAX_CURVES, ViewMaker
from dipddpm.tui.console.preferences import Preferences
from dipddpm.tui.console.session import Options, Session
from dipddpm.tui.shared.groups import GroupRow, group_rows
from dipddpm.tui.shared.runlist import RunRow, make_row
from tests.tui.driving import Maker


def row(name: str, group: str = "", state: RunState = RunState.finished, **more: object) -> RunRow:
    return RunRow(id=f"id {name}", name=name, group=group, state=state, **more)  # type: ignore[arg-type]


def names(rows: list[RunRow | GroupRow]) -> list[str]:
    return [row.name for row in rows]


ROWS = [row("alone"), row("lr=10", "g"), row("other"), row("lr=2", "g"), row("single", "h")]


def test_group_rows_fold_group_at_its_first_run() -> None:
    entries = group_rows(ROWS, set(), by_name=True)
    assert names(entries) == ["alone", "g", "other", "single"]
    header = entries[1]
    assert isinstance(header, GroupRow)
    assert (header.runs, header.unfolded, header.finished) == (("id lr=2", "id lr=10"), False, 2)


def test_group_rows_list_runs_below_unfolded_group() -> None:
    assert names(group_rows(ROWS, {"g", "h"}, by_name=True)) == ["alone", "g", "lr=2", "lr=10", "other", "single"]
    assert names(group_rows(ROWS, {"g"}, by_name=False)) == ["alone", "g", "lr=10", "lr=2", "other", "single"]


def test_group_row_shows_most_active_state_and_mean_progress() -> None:
    states = [RunState.finished, RunState.failed, RunState.queued, RunState.running]
    rows = [
        row(str(state), "g", state, progress=share) for state, share in zip(states, (1, 0.5, None, 0.25), strict=True)
    ]
    (header,) = group_rows(rows, set(), by_name=True)
    assert isinstance(header, GroupRow)
    assert header.state is RunState.running
    assert header.states == ((RunState.running, 1), (RunState.queued, 1), (RunState.failed, 1), (RunState.finished, 1))
    assert header.progress == 0.43
    (header,) = group_rows(rows[:2], set(), by_name=True)
    assert header.state is RunState.failed


def test_group_row_id_never_equals_run_id() -> None:
    (header,) = group_rows([row("a", "g"), row("b", "g")], set(), by_name=True)
    assert "/" in header.id


def view_maker(root: Path) -> ViewMaker:
    """Return a view maker that reads configs immediately instead of in the background."""
    session = Session(Options(root), RunsFolder(root), Preferences())
    return ViewMaker(session, lambda _: None, lambda work, then: then(work()), lambda: None)


def combined(made: Sequence[Run]) -> tuple[ViewMaker, list[RunRow]]:
    maker = view_maker(made[0].folder.parent)
    rows = [make_row(run.status()) for run in made]
    assert maker.combinations(rows) == []  # the configs are only now being read
    return maker, rows


def test_combinations_join_runs_that_differ_in_seed(make: Maker) -> None:
    runs = [make("dip", psnr=[20.0], settings={"dip.lr": lr, "seed": seed}) for lr in (0.2, 0.1) for seed in (0, 1)]
    maker, rows = combined(runs)
    entries = maker.combinations(rows)
    assert [(entry.title, [row.id for row in entry.rows], entry.colour_index) for entry in entries] == [
        ("lr=0.1", [run.id for run in runs[2:]], 0),
        ("lr=0.2", [run.id for run in runs[:2]], 1),
    ]
    assert [entry.title for entry in maker.combinations(rows[:2])] == ["same options"]


def test_combinations_draw_only_best_of_many() -> None:
    maker = view_maker(Path())
    rates = [round(0.01 * n, 2) for n in range(1, 13)]
    rows = [row(f"{lr} {seed}", "g", psnr=20 + 10 * lr) for lr in rates for seed in range(6)]
    for each in rows:
        config = configs.build("dip", settings={"dip.lr": each.name.split()[0], "seed": int(each.name.split()[1])})
        maker._configs[each.id] = config, {"dip.lr": str(config.dip.lr), "seed": str(config.seed)}  # type: ignore[union-attr]
    entries = maker.combinations(rows)
    assert len(entries) == 12
    drawn = [entry for entry in entries if entry.drawn]
    assert [entry.title for entry in drawn] == [f"lr={lr:g}" for lr in rates[-SERIES_COLOURS:]]
    assert [entry.colour_index for entry in drawn] == list(range(SERIES_COLOURS))
    assert sum(len(entry.drawn) for entry in drawn) <= MAX_CURVES
