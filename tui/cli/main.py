"""`dipddpm`: the command line. It assembles the commands of `tui.cli`, runs one, and prints its errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any

import typer

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError, suggest, system_error
from dipddpm.core.io.output import DISK_ERRORS
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch.local import working_folder
from dipddpm.core.runs.environment import program_version
from dipddpm.tui.cli import complete, data, prune, runs
from dipddpm.tui.cli.bench import bench
from dipddpm.tui.cli.compare import compare
from dipddpm.tui.cli.doctor import doctor
from dipddpm.tui.cli.export import export
from dipddpm.tui.cli.help import GENERAL, HelpCommand, HelpGroup
from dipddpm.tui.cli.restore import restore
from dipddpm.tui.cli.restore_image import restore_image
from dipddpm.tui.cli.run import fork, reproduce, run
from dipddpm.tui.cli.sample import sample
from dipddpm.tui.cli.sweep import sweep
from dipddpm.tui.shared import streams

BAD_USAGE = 2
INTERRUPTED = 130

app = typer.Typer(
    cls=HelpGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: dict[str, tuple[Callable[..., Any], ...]] = {
    "Restore a picture": (restore_image,),
    "Run experiments": (run, restore, sweep, fork, reproduce),
    "List and follow runs": (runs.ls, runs.show, runs.watch),
    "Stop, resume and delete runs": (runs.stop, runs.resume, prune.prune, prune.rm),
    "Compare, sample and export": (compare, sample, export),
    "Machine and data": (doctor, bench),
}
for _heading, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(cls=HelpCommand, rich_help_panel=_heading)(_command)
app.add_typer(data.app, name="data", rich_help_panel=_heading)


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", rich_help_panel=GENERAL)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print a traceback if the program fails.", rich_help_panel=GENERAL)
    ] = False,
) -> None:
    """Restore damaged pictures; train, run and compare Deep Image Prior, DDPM and their hybrids.

    Examples:
        dipddpm restore-image photo.png
        dipddpm restore --preset quick
        dipddpm ls

    Each command explains its options with --help. dipddpm-tui is the console for the same runs.
    """
    if show_version:
        print(program_version())
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with 0 if all is well, 1 if the run failed, 2 for bad usage, 130 if interrupted."""
    streams.open_streams()
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:
        code = 0
    sys.exit(streams.close_streams(code))


def _run(arguments: list[str]) -> int:
    """Run a command and return the exit code. Raises BrokenPipeError, and with --debug any other error."""
    run_app = partial(app, arguments or ["--help"], prog_name="dipddpm", standalone_mode=False)
    try:
        working_folder()  # refuse a deleted folder: torch's libraries end the process there
        result = complete.run_completion(run_app) if complete.COMPLETION_VARIABLE in os.environ else run_app()
    except UserError as error:
        _print_error(error.problem, error.remedy)
        return BAD_USAGE
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except SystemExit as error:
        # typer turns a closed pipe into an exit with 1.
        if isinstance(error.__context__, BrokenPipeError):
            raise error.__context__ from None
        return error.code if isinstance(error.code, int) else 0
    except Exception as error:
        if "--debug" in arguments:
            raise
        return _explain(error)
    return result if isinstance(result, int) else 0


def _explain(error: Exception) -> int:
    """Print an error in two lines instead of a traceback, and return the exit code."""
    # typer has its own copy of click and keeps the exceptions private; only usage errors have `format_message`.
    if hasattr(error, "format_message"):
        _print_error(*_describe_usage_error(error))
        return BAD_USAGE
    if limit := system_error(error):
        _print_error(limit.problem, limit.remedy)
        return 1
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        name = error.filename2 or error.filename
        what = f"The file {name}" if isinstance(name, str) else "A file"
        _print_error(f"{what} can't be read or written: {error.strerror}.", "Check its permissions and its disk.")
        return 1
    first_line = (str(error).splitlines() or [""])[0]
    problem = f"The program failed with {type(error).__name__}: {first_line}"
    _print_error(problem, "This is a bug: repeat the command as dipddpm --debug ... and report the traceback.")
    return 1


def _nearest_option(option: str, near: Iterable[str], context: Any) -> str:
    """Return the remedy for an option that doesn't exist: one of its command, of the task, or of the config."""
    remedy = suggest(option, near)
    if remedy.startswith("Did"):
        return remedy
    name, known = option.lstrip("-").replace("-", "_"), {param.name for param in context.command.params}
    task = next((task for task, options in configs.TASKS.items() if name in options.__struct_fields__), None)
    if task and "task" in known:
        return f"It is an option of the task: --task {task}:{name}=VALUE."
    kinds = configs.KINDS if "settings" in known or "set" in known else ()
    keys = dict.fromkeys(field.key for kind in kinds for field in configs.describe(kind))
    meant = [f"--set {key}=VALUE" for key in keys if key.rpartition(".")[2] == name]
    return f"Write {' or '.join(meant)}." if meant else f"See {context.command_path} --help."


def _describe_usage_error(error: Any) -> tuple[str, str]:
    """Return what is wrong with the command line and what to do about it: an option's help, or an example."""
    context, option = error.ctx, getattr(error, "option_name", "")
    if hasattr(error, "possibilities"):
        return f"There is no option {option}.", _nearest_option(option, error.possibilities or (), context)
    problem = error.format_message().replace("Input should be", "it must be").replace("Value error, ", "")
    problem = problem.partition(", unable to parse")[0].rstrip(".") + "."
    if context is None:  # an option at the end of the line, without its value
        return problem, f"Write a value after it: {option} VALUE."
    wrong = getattr(error, "param", None)
    if "extra argument" in problem and any(param.name == "image" for param in context.command.params):
        return problem, f"Write --image before each image file. For example: {context.command.examples[0]}"
    if wrong is None or wrong.param_type_name == "argument":
        return problem, f"For example: {context.command.examples[0]}"
    return problem, ": ".join(wrong.get_help_record(context))


def _print_error(problem: str, remedy: str) -> None:
    print(f"{printable(problem)}\n{printable(remedy)}", file=sys.stderr)
