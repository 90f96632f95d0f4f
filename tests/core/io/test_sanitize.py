"""Tests of text made safe to display: no character controls the terminal, and harmless text stays unchanged."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.io.sanitize import printable, printable_json


@given(st.text())
def test_printable_gives_no_control_over_terminal(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufeff")
    assert "\n" not in shown


@given(st.text(st.characters(categories=("L", "N", "P", "S")), max_size=100))
def test_printable_leaves_letters_numbers_and_signs_unchanged(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\tb\r\nc", "a b  c"),
        ("\x9b2J", "\\x9b2J"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("\x00", "\\x00"),
        ("a\u00a0b", "a b"),
        ("\udcff", "\\udcff"),
        ("\U0001f468\u200d\U0001f469 \u2764\ufe0f", "\U0001f468\u200d\U0001f469 \u2764\ufe0f"),
    ],
)
def test_printable_writes_out_control_characters(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_printable_cuts_long_text() -> None:
    assert printable("x" * 100, 10) == "x" * 9 + "…"
    assert printable("x" * 10, 10) == "x" * 10


@given(st.recursive(st.none() | st.text(st.characters(codec="utf-8")), st.lists))
def test_printable_json_has_same_value_and_is_printable(value: object) -> None:
    safe = printable_json(json.dumps(value, ensure_ascii=False) + "\n")
    assert json.loads(safe) == value
    assert all(c.isprintable() for c in safe[:-1])
