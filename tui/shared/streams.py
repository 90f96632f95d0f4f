"""Standard output and error on which printing never fails: closed, on a full disk, or without a letter's code.

A command that prints into a full disk or a closed pipe does its work to the end. Of a full disk it then says that its
output is incomplete; a closed pipe is no error, and ends a command that only follows runs.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from typing import TextIO

ERRORS = "dipddpm-signs"
"""The name of the error handler that replaces signs which an encoding lacks."""
SIGNS = {"✓": "+", "✗": "x", "●": "*", "◆": "*", "■": "#", "█": "#", "•": "-", "▸": ">", "→": ">", "◂": "<", "←": "<"}
SIGNS |= {"±": "~", "×": "x", "…": "~", "’": "'", "≤": "<", "≥": ">", "━": "-", "─": "-", "│": "|", "▕": "|", "°": "o"}
"""A sign of ASCII for signs of the same width."""

_lacking: list[str] = []
"""The first sign that was replaced since `open_streams`."""


class _File(io.FileIO):
    """A standard stream that remembers the first error of writing, and then discards what is written."""

    failure: OSError | None = None
    ends_with_reader = False
    """True if output into a closed pipe raises BrokenPipeError; sys.stderr never raises it."""

    def write(self, data: object) -> int:
        if self.failure is None:
            try:
                return super().write(data)  # type: ignore[arg-type]
            except OSError as error:
                self.failure = error
        if self.ends_with_reader and isinstance(self.failure, BrokenPipeError):
            raise self.failure
        return memoryview(data).nbytes  # type: ignore[arg-type]


def open_streams() -> None:
    """Replace the standard output and error of this process, unless they have been replaced already."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the first file that the program opens would become the stream
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error(ERRORS, _replace)
    _lacking.clear()
    if sys.stdin is None:  # it was closed, so that a question gets no answer
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is sys.__stdout__:
        sys.stdout = _lenient(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lenient(sys.stderr, 2)


def end_with_reader() -> None:
    """Raise BrokenPipeError from now on if output goes into a closed pipe: the command only shows what others do."""
    if (raw := _raw_output()) is not None:
        raw.ends_with_reader = True


def close_streams(code: int) -> int:
    """Write what is still buffered, say what was not written as it was meant, and return the exit code.

    The code becomes 1 if the output is incomplete, unless its reader, for example `head`, has closed the pipe.
    """
    raw = _raw_output()
    if raw is not None:
        raw.ends_with_reader = False
    sys.stdout.flush()
    if _lacking:
        print(f"The encoding {sys.stdout.encoding} lacks {_lacking[0]!a}, so signs were replaced.", file=sys.stderr)
        print("To see them, set LANG=C.UTF-8 and unset LC_ALL and PYTHONIOENCODING.", file=sys.stderr)
    if raw is not None and raw.failure is not None and not isinstance(raw.failure, BrokenPipeError):
        print(f"The output is incomplete, because it can't be written: {raw.failure.strerror}.", file=sys.stderr)
        print("Write it to another file, or to a terminal.", file=sys.stderr)
        return code or 1
    return code


def _raw_output() -> _File | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, _File) else None


def encodable(text: str) -> bool:
    """Return whether standard output can show all letters of this text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _lenient(old: TextIO | None, number: int) -> TextIO:
    encoding = old.encoding if old else "utf-8"
    buffer = io.BufferedWriter(_File(number, "w", closefd=False))
    by_line = number == 2 or os.isatty(number) or getattr(old, "write_through", False)
    return io.TextIOWrapper(buffer, encoding=encoding, errors=ERRORS, line_buffering=by_line)


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Replace signs by some of the same width, so that columns stay aligned."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    if not _lacking and not unicodedata.category(lacking[0]).startswith("C"):
        _lacking.append(lacking[0])
    return "".join(SIGNS.get(sign) or "?" * _width(sign) for sign in lacking), error.end


def _width(sign: str) -> int:
    if unicodedata.combining(sign) or sign in "\u200d\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1
