"""The output of commands: tables for people and JSON for other programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from dipddpm.core.io import records
from dipddpm.core.io.sanitize import printable_json
from dipddpm.tui.shared import streams


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns padded to the width of their widest cell on a terminal."""
    from rich.cells import cell_len, set_cell_size

    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [set_cell_size(cell, width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())


def print_notice(text: str) -> None:
    """Print a line to standard error."""
    print(text, file=sys.stderr, flush=True)


def print_json(record: Any) -> None:
    """Print indented JSON without control characters."""
    print(json_text(msgspec.json.format(records.dump(record))))


def json_line(record: Any) -> str:
    """Return JSON on one line, without control characters."""
    return json_text(records.dump(record))


def json_text(content: bytes) -> str:
    """Return JSON without control characters, and in ASCII if standard output can't show all its letters."""
    text = printable_json(content.decode())
    return text if streams.encodable(text) else printable_json(text, ascii_only=True)
