"""Tags and notes: stored in the run's folder, and safe to show whatever the file contains."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.errors import UserError
from dipddpm.tui.shared import marks
from dipddpm.tui.shared.marks import RunNotes


def test_notes_written_are_read_back(tmp_path: Path) -> None:
    written = marks.write(tmp_path, RunNotes(("paper", "σ=25"), "best so far\nask about lr"))
    assert written.tags == ("paper", "σ25")
    assert marks.read(tmp_path) == written


def test_write_removes_file_of_empty_notes(tmp_path: Path) -> None:
    marks.write(tmp_path, RunNotes(("x",)))
    marks.write(tmp_path, marks.NO_NOTES)
    assert list(tmp_path.iterdir()) == []
    assert marks.read(tmp_path) == marks.NO_NOTES


def test_read_cleans_hand_written_file(tmp_path: Path) -> None:
    (tmp_path / marks.NOTES_FILE).write_text('tags = ["a b", "[red]", "x", "x"]\nnote = "\\u001b[31mred\\u0007"\n')
    notes = marks.read(tmp_path)
    assert notes.tags == ("ab", "red", "x")
    assert notes.note.isprintable()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"tags = 3", b"tags = [", b"x" * (1 << 17), b"[" * 5000])
def test_read_treats_damaged_file_as_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / marks.NOTES_FILE).write_bytes(content)
    assert marks.read(tmp_path) == marks.NO_NOTES


def test_write_reports_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be written"):
        marks.write(tmp_path / "gone", RunNotes(("x",)))


def test_parse_tags_splits_at_spaces_and_commas() -> None:
    assert marks.parse_tags(" paper, x;y  x ") == ("paper", "x", "y")


@given(st.text(max_size=200))
def test_parse_tags_returns_single_printable_words(text: str) -> None:
    tags = marks.parse_tags(text)
    assert marks.clean_tags(tags) == tags
    assert all(tag and tag.isprintable() and " " not in tag for tag in tags)
