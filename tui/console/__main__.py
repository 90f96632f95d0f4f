"""`dipddpm-tui`: its command line, and the settings that must be made before Textual is loaded."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dipddpm.core.errors import UserError, system_error
from dipddpm.core.launch.local import runs_root, working_folder
from dipddpm.tui.console import terminal
from dipddpm.tui.console.session import Options, Session
from dipddpm.tui.shared import streams

COLOURS = {"auto": "auto", "16": "standard", "256": "256", "true": "truecolor"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the console. Return 0, 2 for a usage error, or 128 plus the number of the signal that ended it.

    Return 1 if the output of --once can't be written, or if a limit of the machine has stopped the console.
    """
    streams.open_streams()
    try:
        return streams.close_streams(_run(arguments))
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        if (limit := system_error(error)) is None:
            raise
        _report(limit)
        return 1


def _run(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    try:
        args = parser.parse_args(arguments)
    except SystemExit as end:
        if end.code:  # argparse has printed what is wrong
            raise
        return 0  # the help, which may still be buffered
    try:
        options = Options(
            root=runs_root(args.runs_dir),
            cwd=working_folder(),
            run=args.run or "",
            readonly=args.readonly,
            fps=args.fps,
            mouse=not args.no_mouse,
        )
    except UserError as error:
        return _report(error)
    if args.serve:
        return _serve(args, options.root, parser)
    _set_textual_environment(args.color)
    if args.once:
        from dipddpm.tui.console.app import DipddpmApp

        return DipddpmApp(Session.open(options)).print_first_frame()
    if not terminal.is_interactive():
        print(
            "The console needs a terminal. In a script, print one frame with --once, or use dipddpm ls.",
            file=sys.stderr,
        )
        return 2
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while Textual is loading; the console handles ctrl-c afterwards
    from dipddpm.tui.console.app import DipddpmApp

    return DipddpmApp(Session.open(options)).run_to_exit_code()


def _serve(args: argparse.Namespace, root: Path, parser: argparse.ArgumentParser) -> int:
    """Serve the console to a browser, with the other options."""
    if args.once:
        parser.error("--once and --serve exclude each other: leave one of them out")
    try:
        from dipddpm.tui.console.serve import serve
    except ImportError:
        print("--serve needs the extra serve. Install it with: pip install 'dipddpm[serve]'", file=sys.stderr)
        return 2
    options = ["--runs-dir", str(root), "--fps", str(args.fps), "--color", args.color]
    options += ["--readonly"] * args.readonly + ["--no-mouse"] * args.no_mouse
    try:
        return serve([*options, *([args.run] if args.run else [])], args.port)
    except UserError as error:
        return _report(error)


def _report(error: UserError) -> int:
    print(f"{error.problem}\n{error.remedy}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dipddpm-tui", description="Launch, watch, compare and review runs in the terminal."
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="run to open: its id, a unique prefix of it, or last")
    parser.add_argument(
        "--runs-dir", type=_folder, metavar="FOLDER", help="folder of the runs (default: DIPDDPM_RUNS, else ./runs)"
    )
    parser.add_argument("--readonly", action="store_true", help="only show runs: launch, stop, change and delete none")
    parser.add_argument(
        "--fps", type=_rate, default=4.0, metavar="N", help="screen updates per second, 0.1 to 30 (default: 4)"
    )
    parser.add_argument("--once", action="store_true", help="print one frame as text and exit")
    parser.add_argument("--serve", action="store_true", help="open in a browser on this machine, or over an SSH tunnel")
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help="port of --serve (default: 8000; 0: any)")
    parser.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal, e.g. to select text")
    parser.add_argument("--color", choices=COLOURS, default="auto", help="number of colours (default: auto)")
    return parser


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 30:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0.1 and 30")
    return value


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port number between 0 and 65535")
    return int(text)


def _set_textual_environment(color: str) -> None:
    """Set the variables that Textual reads when it is loaded; animations are off, since the console needs none."""
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
    if color != "auto":
        os.environ["TEXTUAL_COLOR_SYSTEM"] = COLOURS[color]


if __name__ == "__main__":
    sys.exit(main())
