"""`dipddpm reproduce`: the published study end to end, and its report."""

from __future__ import annotations

from dataclasses import dataclass, field

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.tui.cli.command import command, option
from dipddpm.tui.cli.options import NewRun
from dipddpm.tui.cli.run import start


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(NewRun):
    """The options of `dipddpm reproduce`."""

    quick: bool = option(False, "Minutes on a CPU: fewer images and epochs than were published.", "--quick")
    full: bool | None = option(None, "Take the hybrid on to 100 epochs too.", "--full", key="study.full")
    processes: int | None = field(default=None, init=False)
    group: str | None = field(default=None, init=False)
    on: str | None = field(default=None, init=False)
    now: bool = field(default=False, init=False)


@command(ReproduceOptions)
def reproduce(options: ReproduceOptions) -> int:
    """Reproduce the published study, number by number, and show why its hybrid failed and which ones don't.

    Each stage is a run of its own; those that the history has already are not made again. The report is report.html,
    and report.md, in the study's folder.
    """
    if options.quick and options.full:
        raise UserError("--quick and --full exclude each other.", "Leave one of them out.")
    config = configs.build("study", preset="quick" if options.quick else None, settings=options.config_settings())
    return start(config, options)
