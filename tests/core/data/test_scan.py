"""Test which files of a folder are images: hidden ones, links, endings."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dipddpm.core.data.scan import Listing, count_text, scan
from dipddpm.core.errors import UserError


def touch(top: Path, *names: str) -> Path:
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return top


def link(path: Path, target: Path | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def names(listing: Listing) -> list[str]:
    return ["/".join(parts) for parts in listing.files]


def test_scan_leaves_out_hidden_files_and_folders(tmp_path: Path) -> None:
    hidden = (".ipynb_checkpoints/1.png", ".thumbnails/1.png", "a/@eaDir/1.png/S.jpg", "__MACOSX/a/._1.png")
    more = ("a/Thumbs.db", "lost+found/1.png", "$RECYCLE.BIN/1.png", ".git/1.png", "a/._1.png", "#recycle/1.png")
    listing = scan(touch(tmp_path, "a/1.png", "b/1.png", *hidden, *more))
    assert names(listing) == ["a/1.png", "b/1.png"]
    assert listing.left_out == {"hidden": 10}
    assert listing.subfolders == {"a", "b"}


def test_scan_takes_other_endings_and_counts_the_rest(tmp_path: Path) -> None:
    used = ("1.PNG", "2.jfif", "3.jpe", "4.Tif", "5.dib", "6.pnm", "7.x.WEBP")
    touch(tmp_path, *used, "a.heic", "b.HEIC", "c.avif", "d.npy", "e.jp2", "f.csv", "g.txt", "h.json", "README", "i.")
    Image.new("L", (2, 2)).save(tmp_path / "8", format="PNG")
    listing = scan(tmp_path)
    assert names(listing) == [*(name for name in used[:-1]), "7.x.WEBP", "8"]
    assert count_text(listing.left_out) == "2 .heic, 1 .avif, 1 .jp2, 1 .npy"


def test_scan_reads_linked_folders_and_files_once(tmp_path: Path) -> None:
    store = touch(tmp_path / "store", "1.png", "2.png", "blob")
    top = touch(tmp_path / "top", "real/3.png")
    link(top / "cats", store)
    link(top / "dogs", store)
    link(top / "one" / "again.png", store / "1.png")
    link(top / "one" / "named.png", store / "blob")  # the name of the link decides
    link(top / "real" / "broken.png", "nowhere")
    listing = scan(top)
    assert names(listing) == ["cats/1.png", "cats/2.png", "one/named.png", "real/3.png"]
    assert count_text(listing.left_out) == "1 broken link, 2 repeated links"


def test_scan_ends_at_links_to_folders_above_and_at_loops(tmp_path: Path) -> None:
    top = touch(tmp_path / "top", "a/1.png", "a/b/2.png")
    touch(tmp_path, "beside.png")
    link(top / "a" / "up", "..")
    link(top / "a" / "b" / "self", ".")
    link(top / "outside", tmp_path)
    link(top / "root", "/")
    link(top / "x", "y")
    link(top / "y", "x")
    other = touch(tmp_path / "other", "3.png")
    link(other / "back", top)
    link(other / "other", other)
    link(top / "other", other)
    listing = scan(top)
    assert names(listing) == ["a/1.png", "a/b/2.png", "other/3.png"]
    assert count_text(listing.left_out) == "2 broken links, 6 repeated links"


def test_scan_of_linked_folder_equals_scan_of_folder(tmp_path: Path) -> None:
    top = touch(tmp_path / "top", "a/1.png", "b/2.png")
    link(tmp_path / "link", top)
    assert scan(tmp_path / "link").files == scan(top).files


def test_scan_keeps_hard_links(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/0.png")
    (tmp_path / "b" / "1.png").hardlink_to(tmp_path / "a" / "1.png")
    assert names(scan(tmp_path)) == ["a/1.png", "b/0.png", "b/1.png"]


def test_scan_refuses_name_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    with pytest.raises(UserError, match=r"not UTF-8: caf\\xe9\.png"):
        scan(tmp_path)


def test_scan_refuses_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.png", "b/1.png")
    read = os.scandir

    def scandir(path: str) -> os._ScandirIterator[str]:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", path)
        return read(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"b cannot be read: Permission denied"):
        scan(tmp_path)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_of_files_does_not_depend_on_order_of_file_system(random: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        files = ["a/1.png", "a/B.png", "a/b.png", "a-b/1.png", "\u00e9/1.png", "z.png", "Z/\u4e2d.png"]
        random.shuffle(files)
        links = [("l/1.png", "z.png"), ("k/1.png", "z.png"), ("m", "a"), ("n", "a")]
        random.shuffle(links)
        touch(top, *files)
        store = touch(top / ".store", "z.png", "a/5.png")
        for name, target in links:
            link(top / name, store / target)
        expected = ["Z/\u4e2d.png", "a/1.png", "a/B.png", "a/b.png", "a-b/1.png", "k/1.png", "m/5.png", "z.png"]
        assert names(scan(top)) == [*expected, "\u00e9/1.png"]


def test_count_text_shortens_many_endings() -> None:
    counts = Counter({f".{letter}": 2 for letter in "abcdefgh"} | {"hidden": 1200, "broken link": 2})
    assert count_text(counts) == (
        "2 .a, 2 .b, 2 .c, 2 .d, 2 .e, 2 .f, 4 with other endings, 2 broken links, 1,200 hidden"
    )
    assert count_text(Counter()) == ""
