"""Completion of paths to pictures, as they are typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dipddpm.tui.shared.paths import complete, listed


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with pictures the current one, and the home folder."""
    for name in ("photo.png", "photo2.JPG", "notes.txt", ".hidden.png", "stack.npy", "bad\nname.png"):
        (tmp_path / name).touch()
    for name in ("scans", "my pictures"):
        (tmp_path / name).mkdir()
    (tmp_path / "scans" / "one.tif").touch()
    (tmp_path / "my pictures" / "it's.png").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "completed", "names"),
    [
        ("", "", ("my pictures/", "photo.png", "photo2.JPG", "scans/", "stack.npy")),
        ("ph", "photo", ("photo.png", "photo2.JPG")),
        ("photo.", "photo.png", ("photo.png",)),
        ("photo.png", "photo.png", ("photo.png",)),
        ("PHOTO2", "photo2.JPG", ("photo2.JPG",)),
        ("sc", "scans/", ("scans/",)),
        ("scans/", "scans/one.tif", ("one.tif",)),
        ("./sc", "./scans/", ("scans/",)),
        ("~", "~/", ("my pictures/", "photo.png", "photo2.JPG", "scans/", "stack.npy")),
        ("~/sta", "~/stack.npy", ("stack.npy",)),
        (".h", ".hidden.png", (".hidden.png",)),
        ("notes", "notes", ()),
        ("nowhere/", "nowhere/", ()),
        ("photo.png/", "photo.png/", ()),
    ],
)
def test_path_is_completed_like_in_a_shell(text: str, completed: str, names: tuple[str, ...]) -> None:
    assert complete(text) == (completed, names)


def test_absolute_path_stays_absolute(here: Path) -> None:
    assert complete(f"{here}/sca").text == f"{here}/scans/"


def test_only_folders_are_offered_where_a_folder_is_wanted() -> None:
    assert complete("", folders_only=True).names == ("my pictures/", "scans/")


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("photo.png sc", "photo.png scans/"),
        ("my", "'my pictures/'"),
        ("'my pictures/'i", "'my pictures/it'\"'\"'s.png'"),
        ("my\\ pic", "'my pictures/'"),
        ("'my pic", "'my pictures/'"),
        ("a.png ~/my", "a.png ~/'my pictures/'"),
    ],
)
def test_last_of_several_paths_is_completed_and_quoted(text: str, completed: str) -> None:
    assert complete(text, several=True).text == completed


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="abc '\"\\/~.-é", max_size=12), st.text(alphabet="ab '\"\\~é.-", min_size=1, max_size=8))
def test_completed_text_has_the_completed_path_as_its_last_word(here: Path, before: str, name: str) -> None:
    try:
        words = shlex.split(before)
    except ValueError:
        return
    if name in {".", ".."}:
        return
    folder = here / name
    folder.mkdir(exist_ok=True)
    try:
        text = complete(f"{before} {shlex.quote(str(here))}/{shlex.quote(name)}", several=True).text
    finally:
        folder.rmdir()
    if before.endswith("\\") and not before.endswith("\\\\"):
        return
    assert shlex.split(text) == [*words, f"{here}/{name}/"]


def test_list_of_candidates_fits() -> None:
    assert listed(["a.png", "b.png"], 80) == "a.png  b.png"
    assert listed([f"{n}.png" for n in range(50)], 30).endswith("and 47 more")
