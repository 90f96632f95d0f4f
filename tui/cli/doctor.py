"""`dipddpm doctor`: find problems of this machine and say what to do about each, this terminal included."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping

from dipddpm.core import doctor as checks
from dipddpm.core.doctor import Severity
from dipddpm.core.doctor.finding import Finding, note, ok
from dipddpm.core.doctor.machine import command_output
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch.local import runs_root
from dipddpm.tui.cli.options import Json, RunsDir
from dipddpm.tui.cli.output import print_json
from dipddpm.tui.shared.graphics import may_have_graphics

INDENT = " " * 23
SMALLEST, BEST = (80, 24), (120, 36)
TRUE_COLOUR = {"truecolor", "24bit"}


def doctor(runs_dir: RunsDir = None, json: Json = False) -> int:
    """Check this machine and say how to solve each problem.

    Examples:
        dipddpm doctor
        dipddpm doctor --json

    The checks cover Python, torch, GPUs, disk, data, queue, runs and this terminal. They change nothing. The exit code
    is 1 if runs would fail, else 0.
    """
    findings = []
    for finding in checks.examine(runs_root(runs_dir), {"terminal": check_terminal}):
        findings.append(finding)
        if not json:
            print(f"{finding.verdict:<9} {printable(finding.subject):<12} {printable(finding.message)}", flush=True)
            if finding.remedy:
                print(textwrap.indent(printable(finding.remedy), INDENT))
    problems = sum(finding.verdict is Severity.problem for finding in findings)
    if json:
        print_json({"problems": problems, "found": findings})
    else:
        notes = sum(finding.verdict is Severity.note for finding in findings)
        print(f"\n{problems or 'No'} problem{'s' * (problems != 1)}, {notes or 'no'} note{'s' * (notes != 1)}.")
    return 1 if problems else 0


def check_terminal() -> Iterator[Finding]:
    """Yield the findings about this terminal, from the environment and from tmux."""
    if not sys.stdout.isatty() and not sys.stderr.isatty():
        yield ok("terminal", "none here; run in a terminal, this checks its size, letters and colours")
        return
    size = shutil.get_terminal_size()
    yield check_size(os.environ.get("TERM", ""), (size.columns, size.lines))
    question = "utf8=#{client_utf8} #{client_termfeatures}"
    features = command_output("tmux", "display-message", "-p", question) if "TMUX" in os.environ else ""
    yield check_letters(os.environ, sys.stdout.encoding, features)
    yield check_colours(os.environ, features)
    yield check_pictures(os.environ, installed=importlib.util.find_spec("textual_image") is not None)


def check_size(name: str, size: tuple[int, int]) -> Finding:
    """Check a terminal's name, which is TERM, and its size in columns and lines."""
    description = f"{name or 'TERM is not set'}, {size[0]}x{size[1]}"
    if name in {"", "dumb"}:
        return note("terminal", description, "The console can't draw here; set TERM, for example to xterm-256color.")
    if size[0] < SMALLEST[0] or size[1] < SMALLEST[1]:
        return note("terminal", description, "The console needs {}x{}; enlarge the window.".format(*SMALLEST))
    if size[0] < BEST[0] or size[1] < BEST[1]:
        return ok("terminal", description, "The console is at its best from {}x{} on.".format(*BEST))
    return ok("terminal", description)


def check_letters(environment: Mapping[str, str], encoding: str, features: str) -> Finding:
    """Check for UTF-8. `features` are tmux's, for example `utf8=1 256,RGB`; empty if tmux doesn't answer."""
    if "utf" not in encoding.lower():
        return note("letters", f"encoding {encoding}", "Curves need UTF-8; set it with: export LANG=C.UTF-8")
    if "TMUX" in environment and "utf8=0" in features:
        return note("letters", "tmux believes that this terminal has no UTF-8", "Attach with: tmux -u attach")
    return ok("letters", encoding.upper())


def check_colours(environment: Mapping[str, str], features: str) -> Finding:
    """Check the number of colours, and find the cause if it is smaller than the terminal's."""
    name = environment.get("TERM", "")
    if environment.get("NO_COLOR"):
        return note("colours", "none: NO_COLOR is set", "Unset NO_COLOR if you want colours.")
    if environment.get("COLORTERM", "").lower() in TRUE_COLOUR:
        if "TMUX" in environment and features and "RGB" not in features:
            remedy = "Add to ~/.tmux.conf: set -as terminal-features ',*:RGB'; then attach again."
            return note("colours", "COLORTERM is true colour, but tmux passes on fewer colours", remedy)
        return ok("colours", "true colour")
    colour_count = "256" if "256" in name else "16"
    if "TMUX" in environment and not name.startswith(("tmux-256", "screen-256")):
        remedy = "Add to ~/.tmux.conf: set -g default-terminal tmux-256color; then restart tmux."
        return note("colours", f"{colour_count}: tmux calls itself {name}", remedy)
    where = "sshd doesn't forward COLORTERM" if "SSH_CONNECTION" in environment else "COLORTERM is not set"
    remedy = "If your terminal has true colour, as nearly all have: export COLORTERM=truecolor"
    return note("colours", f"{colour_count}: {where}", remedy)


def check_pictures(environment: Mapping[str, str], *, installed: bool) -> Finding:
    """Report how the console draws images."""
    if environment.get("DIPDDPM_GRAPHICS") == "0" or not may_have_graphics(environment):
        return ok("pictures", "half blocks")
    if not installed:
        description = "half blocks, although this terminal may show pixels"
        return ok("pictures", description, "For real pixels: pip install 'dipddpm[images]'")
    return ok("pictures", "pixels, if the terminal answers that it can show them")
