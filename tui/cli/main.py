"""`dipddpm`: the command line. Commands stand in `tui.cli`; here they are put together and their errors told."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib.metadata import version
from typing import Annotated

import typer

from dipddpm.core.errors import UserError, suggest
from dipddpm.core.io.sanitize import printable
from dipddpm.tui.cli import complete, data, prune, runs
from dipddpm.tui.cli.bench import bench
from dipddpm.tui.cli.compare import compare
from dipddpm.tui.cli.doctor import doctor
from dipddpm.tui.cli.export import export
from dipddpm.tui.cli.restore import restore
from dipddpm.tui.cli.run import fork, reproduce, run
from dipddpm.tui.cli.sample import sample
from dipddpm.tui.cli.sweep import sweep

BAD_USAGE = 2
INTERRUPTED = 130

app = typer.Typer(
    help="An experiment console for image priors: Deep Image Prior, DDPM and their hybrids. See also dipddpm-tui.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (run, restore, reproduce, sweep, runs.ls, runs.show, runs.watch, compare, runs.stop, runs.resume, fork):
    app.command()(_command)
for _command in (prune.rm, prune.prune, sample, export, doctor, bench):
    app.command()(_command)
app.add_typer(data.app, name="data")


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    if show_version:
        print(version("dipddpm"))
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 the run failed, 2 bad usage, 130 interrupted."""
    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    run_app = partial(app, arguments, prog_name="dipddpm", standalone_mode=False)
    try:
        result = complete.run_completion(run_app) if complete.COMPLETION_VARIABLE in os.environ else run_app()
        sys.stdout.flush()
    except UserError as error:
        _print_error(error.problem, error.remedy)
        sys.exit(BAD_USAGE)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except (BrokenPipeError, SystemExit) as error:
        # typer turns a closed pipe into an exit with 1.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # Whoever read us, as `head` does, has seen enough; what is left in the buffer has to go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if "--debug" in arguments:
            raise
        _explain(error)
    sys.exit(result if isinstance(result, int) else 0)


def _explain(error: Exception) -> None:
    """Print a sentence instead of a traceback; click's complaints of bad usage are such sentences already."""
    # typer carries click inside since 0.2x and keeps its exceptions private: they are known by `format_message`.
    format_message = getattr(error, "format_message", None)
    if format_message is not None:
        possible = getattr(error, "possibilities", None)
        wrong = getattr(error, "option_name", "")
        problem = f"There is no option {wrong}." if wrong and possible else format_message()
        _print_error(problem, suggest(wrong, possible) if possible else "See --help.")
        sys.exit(BAD_USAGE)
    first_line = (str(error).splitlines() or [""])[0]
    _print_error(
        f"{type(error).__name__}: {first_line}", "Run it again with --debug before the command, and report it."
    )
    sys.exit(1)


def _print_error(problem: str, remedy: str) -> None:
    print(f"{printable(problem)}\n{printable(remedy)}", file=sys.stderr)
