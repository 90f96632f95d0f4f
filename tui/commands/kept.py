"""`dipddpm rm` and `prune`: what is kept on disk, and what can go."""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import UserError
from core.launch import runs_root
from core.runs import RunsFolder, keep
from core.text import printable
from tui import complete
from tui.columns import size
from tui.commands.history import print_table
from tui.commands.options import RunArguments, RunsDir, find_runs

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
MOST_NAMED = 20


def rm(run: RunArguments, yes: Yes = False, runs_dir: RunsDir = None) -> None:
    """Delete runs, or all runs of groups, for good. It asks first; nothing is deleted if one of them is live."""
    runs = find_runs(run, runs_dir)
    for one in runs:
        keep.refuse_deletion(one)
    uses = {one: keep.disk_use(one).total for one in runs}
    _name({one.id: taken for one, taken in uses.items()})
    what = "this run" if len(runs) == 1 else f"these {len(runs)} runs"
    if not _sure(f"Delete {what} for good?", yes=yes):
        return
    folder = RunsFolder(runs_root(runs_dir))
    for one in runs:
        keep.delete(one)
        keep.empty_trash(folder, [one.id])
    print(f"{len(runs)} deleted, {size(sum(uses.values()))} freed.")


def prune(
    run: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Of these runs or groups; else of all.", autocompletion=complete.runs),
    ] = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would go and do nothing.")] = False,
    runs_dir: RunsDir = None,
) -> None:
    """Keep only the best model of every run that has ended; it can then be neither resumed nor extended.

    It asks first. Live runs, and runs without a best model, stay whole.
    """
    runs = find_runs(run, runs_dir) if run else RunsFolder(runs_root(runs_dir)).runs()
    spare = keep.prunable(runs)
    if not spare:
        print("There is nothing to prune.")
        return
    _name({one.id: freed for one, freed in spare.items()})
    if not dry_run and _sure("Remove every checkpoint of them but the best model?", yes=yes):
        print(f"{size(keep.prune(spare))} freed.")


def _name(uses: dict[str, int]) -> None:
    """The largest of the runs, and what all of them come to."""
    largest = sorted(uses, key=lambda run: uses[run], reverse=True)
    table = [(printable(run, 60), size(uses[run])) for run in largest[:MOST_NAMED]]
    more = f" and {len(largest) - MOST_NAMED} more" if len(largest) > MOST_NAMED else ""
    print_table([*table, (f"in all{more}", size(sum(uses.values())))])


def _sure(question: str, *, yes: bool) -> bool:
    if yes:
        return True
    try:
        return typer.confirm(question)
    except typer.Abort:
        print()
        raise UserError("Nobody said yes, and nothing was removed.", "Add --yes where nobody can be asked.") from None
