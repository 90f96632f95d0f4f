"""`dipddpm doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import io
import sys
import textwrap

from dipddpm.core import doctor as checks
from dipddpm.core.doctor import Severity
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch.local import runs_root
from dipddpm.tui.cli.options import Json, RunsDir
from dipddpm.tui.cli.output import print_json

INDENT = " " * 23


def doctor(runs_dir: RunsDir = None, json: Json = False) -> int:
    """Look at Python, torch, GPUs, disk, data, queue, runs and this terminal, and tell what to do about each.

    Changes nothing. Exit code 1 where runs would fail, else 0.
    """
    from dipddpm.tui.cli import terminal_check as terminal

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal without UTF-8 is one of the things to be told of.
        sys.stdout.reconfigure(errors="backslashreplace")
    findings = []
    for finding in checks.examine(runs_root(runs_dir), {"terminal": terminal.check_terminal}):
        findings.append(finding)
        if not json:
            print(f"{finding.verdict:<9} {printable(finding.what):<12} {printable(finding.told)}", flush=True)
            if finding.remedy:
                print(textwrap.indent(printable(finding.remedy), INDENT))
    problems = sum(finding.verdict is Severity.problem for finding in findings)
    if json:
        print_json({"problems": problems, "found": findings})
    else:
        notes = sum(finding.verdict is Severity.note for finding in findings)
        print(f"\n{problems or 'No'} problem{'s' * (problems != 1)}, {notes or 'no'} note{'s' * (notes != 1)}.")
    return 1 if problems else 0
