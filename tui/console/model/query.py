"""The filter of the run list: `kind:hybrid loss<0.04 -state:crashed | tag:keep`.

A word matches a run if any of the run's texts contains it. `field:text` searches one field, and `field<number`
compares; ages and durations take units (`age<2d`). A space means and, `|` or `OR` means or, `-` or `not` means not, and
brackets group.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from dipddpm.core.errors import UserError, suggest
from dipddpm.core.io.sanitize import printable
from dipddpm.tui.shared.runlist import RunRow

Test: TypeAlias = Callable[[RunRow], bool]

MAX_LENGTH = 500
MAX_DEPTH = 20
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<bracket>[()|])
      | (?P<minus>-(?=[^\s]))
      | (?P<field>[A-Za-z_]+)(?P<sign>:|<=|>=|!=|=|<|>)(?P<value>"[^"]*"?|[^\s()|]*)
      | (?P<word>"[^"]*"?|[^\s()|]+)
    )""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(%|[a-z]*)", re.IGNORECASE)
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}


def _best_loss(row: RunRow) -> float | None:
    return row.loss if row.best_loss is None else row.best_loss


def _states(row: RunRow) -> tuple[str, ...]:
    """Return the state in all the words that people use for it."""
    return (str(row.state), *(("live",) if row.state.live else ("ended",)), *(("stalled",) if row.stalled else ()))


_TEXTS: dict[str, Callable[[RunRow], tuple[str, ...]]] = {
    "id": lambda row: (row.id,),
    "kind": lambda row: (row.kind,),
    "method": lambda row: (row.method,),
    "name": lambda row: (row.name,),
    "group": lambda row: (row.group,),
    "state": _states,
    "tag": lambda row: row.tags,
    "note": lambda row: (row.note,),
    "device": lambda row: (row.device,),
    "data": lambda row: (row.dataset,),
    "error": lambda row: (row.error, row.hint),
}
_NUMBERS: dict[str, Callable[[RunRow], float | None]] = {
    "loss": _best_loss,
    "psnr": lambda row: row.psnr,
    "peak": lambda row: row.peak_psnr,
    "gain": lambda row: row.gain,
    "epoch": lambda row: row.epoch,
    "step": lambda row: row.step,
    "done": lambda row: None if row.progress is None else 100 * row.progress,
    "age": lambda row: row.age,
    "took": lambda row: row.duration if row.started else None,
    "left": lambda row: row.eta,
}
_TIMES = {"age", "took", "left"}
_ALIASES = {"tags": "tag", "dataset": "data", "duration": "took", "eta": "left", "progress": "done", "is": "state"}
_PREFIX_FIELDS = {"kind", "state"}
"""Fields matched from the beginning, so that `state:r` selects running runs; others match anywhere in the text."""
FIELDS = tuple(sorted({*_TEXTS, *_NUMBERS}))


@dataclass(frozen=True)
class Query:
    """A parsed filter. If it has a `problem` (a sentence), it matches every row."""

    text: str
    problem: str = ""
    matches: Test = lambda row: True


def parse(text: str) -> Query:
    """Parse a filter. Never raises: `problem` holds any syntax error."""
    if not text.strip():
        return Query(text)
    if len(text) > MAX_LENGTH:
        return Query(text, problem=f"The filter is longer than {MAX_LENGTH} characters.")
    try:
        return Query(text, matches=_Parser(text).parse())
    except UserError as error:
        return Query(text, problem=str(error))


class _Parser:
    """Recursive descent: either = both ("|" both)*; both = factor+; factor = "-" factor | "(" either ")" | term."""

    def __init__(self, text: str) -> None:
        self._tokens = [match for match in _TOKEN.finditer(text) if match.group().strip()]
        self._next = 0
        self._depth = 0

    def parse(self) -> Test:
        test = self._either()
        if self._peek():
            raise UserError("A closing bracket has no opening one.", "Remove it.")
        return test

    def _peek(self) -> str:
        """Return the next token's text in lower case; empty at the end."""
        return self._tokens[self._next].group().strip().lower() if self._next < len(self._tokens) else ""

    def _either(self) -> Test:
        tests = [self._both()]
        while self._peek() in {"|", "or"}:
            self._next += 1
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def _both(self) -> Test:
        tests = []
        while self._peek() not in {"", ")", "|", "or"}:
            if self._peek() == "and":
                self._next += 1
                continue
            tests.append(self._factor())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def _factor(self) -> Test:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UserError("The filter has too many nested brackets.", "Use fewer of them.")
        token = self._tokens[self._next]
        token_text = self._peek()
        self._next += 1
        if token_text == "(":
            test = self._either()
            if self._peek() == ")":  # a missing closing bracket is accepted: it may still be typed
                self._next += 1
        elif token_text in {"-", "not"}:
            test = _negated(self._factor()) if self._peek() not in {"", ")", "|", "or"} else _match_all
        elif token["field"]:
            test = _field_test(token["field"], token["sign"], token["value"].strip('"'))
        else:
            test = _word(token["word"].strip('"'))
        self._depth -= 1
        return test


def _match_all(_row: RunRow) -> bool:
    return True


def _negated(test: Test) -> Test:
    return lambda row: not test(row)


def _word(word: str) -> Test:
    wanted = word.casefold()
    return lambda row: any(wanted in text.casefold() for get in _TEXTS.values() for text in get(row))


def _field_test(field: str, sign: str, value: str) -> Test:
    name = _ALIASES.get(field.lower(), field.lower())
    if name in _TEXTS:
        return _text_test(name, sign, value)
    if name in _NUMBERS:
        return _number_test(name, sign, value)
    known = {*FIELDS, *_ALIASES}
    raise UserError(f"Runs have no field {printable(field, 40)!r}.", suggest(field, known))


def _text_test(name: str, sign: str, value: str) -> Test:
    get, wanted = _TEXTS[name], value.casefold()
    if sign not in {":", "=", "!="}:
        raise UserError(f"{name} is a text: {sign} can't compare it.", f"Write {name}:{printable(value, 40) or '...'}")
    if not wanted:
        return _match_all if sign == ":" else lambda row: (sign == "=") != any(get(row))
    if sign == "=":
        return lambda row: any(text.casefold() == wanted for text in get(row))
    if sign == "!=":
        return lambda row: all(text.casefold() != wanted for text in get(row))
    if name in _PREFIX_FIELDS:
        return lambda row: any(text.casefold().startswith(wanted) for text in get(row))
    return lambda row: any(wanted in text.casefold() for text in get(row))


def _number_test(name: str, sign: str, value: str) -> Test:
    get = _NUMBERS[name]
    if value.casefold() == "none" and sign in {":", "=", "!="}:
        return lambda row: (get(row) is None) == (sign != "!=")
    if not value:
        return _match_all
    match = _NUMBER.fullmatch(value)
    units = _UNITS if name in _TIMES else {"%": 1.0} if name == "done" else {}
    if match is None or (match[2] and match[2].lower() not in units):
        example = "2d, 3h or 90s" if name in _TIMES else "a number"
        raise UserError(f"{name} can't be compared with {printable(value, 40)!r}.", f"Give {example}.")
    wanted = float(match[1]) * units.get(match[2].lower(), 1.0)
    compare = _SIGNS["=" if sign == ":" else sign]

    def test(row: RunRow) -> bool:
        row_value = get(row)
        return row_value is not None and not math.isnan(row_value) and compare(row_value, wanted)

    return test
