"""`dipddpm-tui`: the options, and what must be settled before Textual is loaded."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dipddpm.core.errors import UserError
from dipddpm.core.launch.local import runs_root, working_folder
from dipddpm.tui.console import terminal
from dipddpm.tui.console.session import Options, Session

COLOURS = {"auto": "auto", "16": "standard", "256": "256", "true": "truecolor"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the console; the exit code is 0, 2 for bad usage, 128 and a signal's number where one ended it."""
    parser = _parser()
    args = parser.parse_args(arguments)
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
        return _report_usage_error(error)
    if args.serve:
        return _serve(args, options.root, parser)
    _set_textual_environment(args.color)
    if args.once:
        from dipddpm.tui.console.app import DipddpmApp

        return DipddpmApp(Session.open(options)).print_first_frame()
    if not terminal.is_interactive():
        print(
            "The console needs a terminal. In a script, take one frame with --once, or use dipddpm ls.", file=sys.stderr
        )
        return 2
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ctrl-c while all this is loaded; the console then takes it over
    from dipddpm.tui.console.app import DipddpmApp

    return DipddpmApp(Session.open(options)).run_to_exit_code()


def _serve(args: argparse.Namespace, root: Path, parser: argparse.ArgumentParser) -> int:
    """Serve a console with the other options in a browser."""
    if args.once:
        parser.error("--once prints one frame, and --serve goes on: leave one of them out")
    try:
        from dipddpm.tui.console.serve import serve
    except ImportError:
        print("Serving needs the extra serve. Install it with: pip install 'dipddpm[serve]'", file=sys.stderr)
        return 2
    options = ["--runs-dir", str(root), "--fps", str(args.fps), "--color", args.color]
    options += ["--readonly"] * args.readonly + ["--no-mouse"] * args.no_mouse
    try:
        return serve([*options, *([args.run] if args.run else [])], args.port)
    except UserError as error:
        return _report_usage_error(error)


def _report_usage_error(error: UserError) -> int:
    print(f"{error.problem}\n{error.remedy}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dipddpm-tui", description="Launch, watch, compare and review runs in the terminal."
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="open this run: an id, a unique prefix of one, or last")
    parser.add_argument(
        "--runs-dir", type=Path, metavar="FOLDER", help="where runs are kept (else DIPDDPM_RUNS, else ./runs)"
    )
    parser.add_argument("--readonly", action="store_true", help="look only: launch, stop, change and delete nothing")
    parser.add_argument(
        "--fps", type=_rate, default=4.0, metavar="N", help="screen updates a second while runs go on (0.1 to 30)"
    )
    parser.add_argument("--once", action="store_true", help="print one frame as text and leave")
    parser.add_argument("--serve", action="store_true", help="in a browser of this machine, or through an SSH tunnel")
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help="where --serve listens (8000; 0: any)")
    parser.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")
    parser.add_argument("--color", choices=COLOURS, default="auto", help="colours the terminal shows")
    return parser


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 30:
        raise argparse.ArgumentTypeError(f"{text} is no rate between 0.1 and 30")
    return value


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port between 0 and 65535")
    return int(text)


def _set_textual_environment(color: str) -> None:
    """Textual reads its environment when it is loaded. Nothing in this console needs to move by itself."""
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
    if color != "auto":
        os.environ["TEXTUAL_COLOR_SYSTEM"] = COLOURS[color]


if __name__ == "__main__":
    sys.exit(main())
