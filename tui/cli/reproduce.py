"""`dipddpm reproduce`: the published study end to end, and its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.tui.cli.options import NewRun, command
from dipddpm.tui.cli.run import start


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(NewRun):
    """The options of `dipddpm reproduce`."""

    quick: Annotated[
        bool, typer.Option("--quick", help="Minutes on a CPU: fewer images and epochs than were published.")
    ] = False
    full: Annotated[bool, typer.Option("--full", help="Take the hybrid on to 100 epochs too.")] = False
    processes: int | None = field(default=None, init=False)
    on: str | None = field(default=None, init=False)
    now: bool = field(default=False, init=False)

    def named_settings(self) -> dict[str, Any]:
        """Add --full."""
        return {**super().named_settings(), "study.full": self.full or None}


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
