"""`dipddpm fork`: a new run like one that there is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dipddpm.tui.cli.command import command
from dipddpm.tui.cli.options import NewRun, RunArgument, find_run
from dipddpm.tui.cli.run import start
from dipddpm.tui.shared.draft import Draft


@dataclass(frozen=True, kw_only=True)
class ForkOptions(NewRun):
    """The options of `dipddpm fork`."""

    run: RunArgument
    data_dir: Path | None = field(default=None, init=False)
    processes: int | None = field(default=None, init=False)


@command(ForkOptions)
def fork(options: ForkOptions) -> int:
    """Start a run like another one, but for what is given here. It begins anew; resume goes on with the old one."""
    draft = Draft.fork(find_run(options.run, options.runs_dir).config())
    draft.set_values({key: str(value) for key, value in options.config_settings().items()})
    return start(draft.config(), options)
