"""The end of a text file that somebody else writes, line by line, safe to show."""

from __future__ import annotations

import os
from pathlib import Path

from dipddpm.core.io import atomic
from dipddpm.core.io.sanitize import printable

FIRST_BYTES = 1 << 16
"""So much of the end is read at first, and at most at a time."""
MAX_LINE_LENGTH = 2000


class TextTail:
    """Remembers its place. What a progress bar drew over with carriage returns is left out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = -1
        self._inode = 0

    def read(self) -> tuple[list[str], bool]:
        """The lines completed since the last call, and whether the file began anew."""
        try:
            with atomic.open_regular(self.path) as file:
                status = os.fstat(file.fileno())
                restarted = self._offset < 0 or status.st_ino != self._inode or status.st_size < self._offset
                self._inode = status.st_ino
                if restarted or status.st_size - self._offset > FIRST_BYTES:
                    self._offset = max(0, status.st_size - FIRST_BYTES)
                block = os.pread(file.fileno(), FIRST_BYTES, self._offset)
        except OSError:
            return [], False
        whole, newline, _ = block.rpartition(b"\n")
        if not newline and len(block) < FIRST_BYTES:
            return [], restarted
        text = whole if newline else block
        self._offset += len(text) + len(newline)
        return [_visible_text(line) for line in text.split(b"\n")], restarted


def _visible_text(line: bytes) -> str:
    last = line.rstrip(b"\r").rpartition(b"\r")[2]
    return printable(last.decode("utf-8", "replace"), MAX_LINE_LENGTH)
