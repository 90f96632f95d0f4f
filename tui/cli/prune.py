"""`dipddpm rm` and `prune`: delete runs, or their checkpoints, from the disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from dipddpm.core.errors import UserError
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch.local import runs_root
from dipddpm.core.runs import Run, RunsFolder, trash
from dipddpm.tui.cli.help import RUNS
from dipddpm.tui.cli.options import IDS_OR_GROUPS, RunArguments, RunsDir, find_runs, run_argument
from dipddpm.tui.cli.output import print_table
from dipddpm.tui.shared.columns import format_size

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.", rich_help_panel=RUNS)]
MAX_LISTED = 20


def rm(run: RunArguments, yes: Yes = False, runs_dir: RunsDir = None) -> int:
    """Delete runs, or groups of runs, for good.

    Examples:
        dipddpm rm last
        dipddpm rm night --yes

    The command asks first. Of several runs, those that are live are left alone, and the exit code is then 1.
    """
    wanted = find_runs(run, runs_dir)
    runs = _for_each(wanted, trash.refuse_deletion)
    sizes = {one: trash.disk_use(one).total for one in runs}
    _print_sizes({one.id: byte_count for one, byte_count in sizes.items()})
    what = "this run" if len(runs) == 1 else f"these {len(runs)} runs"
    if not _confirmed(f"Delete {what} for good?", yes=yes):
        return 0
    folder = RunsFolder(runs_root(runs_dir))

    def delete(one: Run) -> None:
        trash.delete(one)
        trash.empty_trash(folder, [one.id])
        trash.refuse_left(folder, one.id)

    deleted = _for_each(runs, delete)
    print(f"{len(deleted)} deleted, {format_size(sum(sizes[one] for one in deleted))} freed.")
    return 0 if deleted == wanted else 1


def _for_each(runs: list[Run], work: Callable[[Run], object]) -> list[Run]:
    """Do the work for each run, and return the runs for which it was not refused; print why it was for the others.

    Raises the first UserError if it was refused for all.
    """
    done: list[Run] = []
    refusals: list[UserError] = []
    for run in runs:
        try:
            work(run)
        except UserError as error:
            refusals.append(error)
        else:
            done.append(run)
    if not done and refusals:
        raise refusals[0]
    for refusal in refusals:
        print(printable(f"{refusal.problem} {refusal.remedy}"), file=sys.stderr)
    return done


def prune(
    run: Annotated[list[str] | None, run_argument("RUN", f"{IDS_OR_GROUPS}  [default: all runs]")] = None,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the sizes and remove nothing.", rich_help_panel=RUNS)
    ] = False,
    runs_dir: RunsDir = None,
) -> None:
    """Keep only the best model of ended runs, and remove their other checkpoints.

    Examples:
        dipddpm prune --dry-run
        dipddpm prune last --yes

    The command asks first. A pruned run can no longer be resumed or extended. Live runs and runs without a best model
    keep all their files.
    """
    runs = find_runs(run, runs_dir) if run else RunsFolder(runs_root(runs_dir)).runs()
    prunable = trash.prunable(runs)
    if not prunable:
        print("There is nothing to prune.")
        return
    if not dry_run:
        trash.refuse_read_only(prunable)
    _print_sizes({one.id: freed for one, freed in prunable.items()})
    if not dry_run and _confirmed(
        "Keep only the best model of these runs, and remove their other checkpoints?", yes=yes
    ):
        print(f"{format_size(trash.prune(prunable))} freed.")


def _print_sizes(sizes: dict[str, int]) -> None:
    """Print the largest runs and the sum over all of them."""
    largest = sorted(sizes, key=lambda run: sizes[run], reverse=True)
    table = [(printable(run, 60), format_size(sizes[run])) for run in largest[:MAX_LISTED]]
    more = f", {len(largest) - MAX_LISTED} more runs included" if len(largest) > MAX_LISTED else ""
    print_table([*table, (f"total{more}", format_size(sum(sizes.values())))])


def _confirmed(question: str, *, yes: bool) -> bool:
    if yes:
        return True
    try:
        return typer.confirm(question)
    except typer.Abort:
        print()
        raise UserError(
            "The question got no answer, so nothing was removed.", "Add --yes to skip the question."
        ) from None
