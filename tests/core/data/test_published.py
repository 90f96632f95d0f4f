"""Test that a file which isn't the published one is named with how it differs, by each command that meets it."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dipddpm.core.data import check, load, problems
from dipddpm.core.errors import UserError
from dipddpm.tui.cli.main import main

if TYPE_CHECKING:
    from tests.core.data.conftest import Published

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
SIZE = 16 + 30 * 28 * 28


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda _: b"", "it is empty"),
        (lambda _: gzip.compress(b""), "it is empty"),
        (lambda _: b"\n<!DOCTYPE html><html>404</html>", "it is a web page"),
        (lambda data: data[: len(data) // 2], "it is damaged or cut short"),
        (lambda data: gzip.decompress(data)[:1000], f"its size differs: 1,000 bytes, not {SIZE:,}"),
        (lambda _: gzip.compress(b"hello"), f"its size differs: 5 bytes, not {SIZE:,}"),
        (gzip.compress, "its size differs"),
        (lambda data: gzip.compress(b"\0\0\x0d\x03" + gzip.decompress(data)[4:]), "it is no IDX file of bytes"),
        (lambda data: gzip.compress(gzip.decompress(data)[:-1] + b"x"), "its contents differ"),
    ],
)
def test_difference_from_published_file_is_named(
    published: Published, bare_machine: Path, harm: Callable[[bytes], bytes], words: str
) -> None:
    path = published.write(bare_machine / "fashionmnist") / IMAGES
    assert problems("fashionmnist") == []
    path.write_bytes(harm(path.read_bytes()))
    sentence = f"{path} is not the published file of fashionmnist: {words}"
    (problem,) = problems("fashionmnist")
    assert problem.startswith(sentence)
    for refuse in (lambda: check("fashionmnist"), lambda: load("fashionmnist")):
        with pytest.raises(UserError) as refused:
            refuse()
        assert refused.value.problem == problem
        assert "Fetch it again with `dipddpm data fetch fashionmnist`" in refused.value.remedy


def test_swapped_files_are_named(published: Published, bare_machine: Path) -> None:
    folder = published.write(bare_machine / "fashionmnist")
    (folder / IMAGES).rename(folder / "x")
    (folder / LABELS).rename(folder / IMAGES)
    (folder / "x").rename(folder / LABELS)
    first, second = problems("fashionmnist")
    assert first.endswith("it holds train-labels-idx1-ubyte of fashionmnist.")
    assert second.endswith("it holds train-images-idx3-ubyte of fashionmnist.")
    with pytest.raises(UserError, match="1 more of its files are damaged"):
        check("fashionmnist")


def test_half_of_a_data_set_is_named(published: Published, bare_machine: Path, tmp_path: Path) -> None:
    (published.write(bare_machine / "fashionmnist") / LABELS).unlink()
    sentence = f"The data set fashionmnist in {bare_machine / 'fashionmnist'} is incomplete: it lacks {LABELS}."
    assert problems("fashionmnist") == [sentence]
    with pytest.raises(UserError) as refused:
        check("fashionmnist")
    assert refused.value.problem == sentence
    assert problems("mnist") == []
    flat = published.write(tmp_path / "flat")
    (flat / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    assert problems("fashionmnist", flat)[0].endswith("t10k-labels-idx1-ubyte.gz is not the published file of "
                                                      "fashionmnist: it is empty.")  # fmt: skip
    assert problems("mnist", flat) == []


def test_repaired_file_is_read_again(published: Published, bare_machine: Path) -> None:
    path = published.write(bare_machine / "fashionmnist") / IMAGES
    good = path.read_bytes()
    path.write_bytes(b"")
    assert problems("fashionmnist")
    path.write_bytes(good)
    assert problems("fashionmnist") == []


def test_data_folder_that_is_no_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(UserError, match="file is a file, not a data folder"):
        check("mnist", file)
    monkeypatch.setenv("DIPDDPM_DATA", str(file))
    with pytest.raises(UserError, match=r"The data folder .*file \(DIPDDPM_DATA\) is a file"):
        check("mnist")
    monkeypatch.setenv("DIPDDPM_DATA", str(tmp_path / "missing"))
    with pytest.raises(UserError, match="mnist is not on this machine"):
        check("mnist")
    (tmp_path / "closed").mkdir()
    monkeypatch.setenv("DIPDDPM_DATA", str(tmp_path / "closed"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match=r"closed \(DIPDDPM_DATA\) cannot be read: permission denied"):
        check("mnist")


def test_data_command_lists_what_is_damaged(
    published: Published, bare_machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = published.write(bare_machine / "fashionmnist") / IMAGES
    path.write_bytes(b"")
    (bare_machine / "mnist").mkdir()
    (bare_machine / "mnist" / LABELS).write_bytes(b"")
    with pytest.raises(SystemExit) as ended:
        main(["data"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    states = {line.split()[0]: line.split()[1] for line in output.partition("\n\n")[0].splitlines()}
    assert (states["fashionmnist"], states["mnist"], states["kmnist"]) == ("damaged", "partial", "missing")
    assert states["fashion-mini"] == "here"
    assert f"{path} is not the published file of fashionmnist: it is empty.\n" in output
    assert "Fetch it again with: dipddpm data fetch fashionmnist\n" in output
    with pytest.raises(SystemExit):
        main(["data", "--data-dir", str(path)])
    assert "is a file, not a data folder" in capsys.readouterr().err
