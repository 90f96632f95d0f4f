"""Tests of the names of restored images: unique, safe, and those of the sources."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.config import ImagesConfig
from dipddpm.core.data.names import MAX_BYTES, image_names


def names(*files: str) -> list[str]:
    return image_names(ImagesConfig(files=files))


def test_names_are_those_of_the_files() -> None:
    assert names("/home/me/photo.png", "scan.TIFF", "archive.tar.gz.png") == ["photo", "scan", "archive.tar.gz"]


def test_names_of_data_set_images_have_split_and_index() -> None:
    assert image_names(ImagesConfig(indices="3-4,17", split="train")) == ["train-3", "train-4", "train-17"]


def test_repeated_names_get_numbers() -> None:
    assert names("a/x.png", "b/x.png", "x.jpg", "X.png", "x-2.png") == ["x", "x-2", "x-3", "X-4", "x-2-2"]


def test_names_have_no_path_parts_and_no_control_characters() -> None:
    assert names("../..", ".png", "-rf\a.png", "a\nb\x1b[31m.png", "My photo (1).png") == [
        "image",
        "png",
        "rf",
        "a_b_31m",
        "My_photo_1",
    ]


def test_names_keep_letters_of_any_script() -> None:
    assert names("\u5199\u771f.png", "cafe\u0301.png", "\u05e9\u05dc\u05d5\u05dd.png") == [
        "\u5199\u771f",
        "caf\u00e9",
        "\u05e9\u05dc\u05d5\u05dd",
    ]


@given(st.lists(st.text(max_size=300), min_size=1, max_size=6))
def test_names_are_unique_bounded_and_plain_for_any_files(files: list[str]) -> None:
    made = names(*files)
    assert len({name.casefold() for name in made}) == len(files)
    for name in made:
        assert 0 < len(name.encode()) <= MAX_BYTES + 3
        assert not set(name) & set("/\\\0\n\r\x1b:*?<>|")
        assert name[0] not in ".-"
