from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from dipddpm.core.data import Split, check, load
from dipddpm.core.errors import UserError


def write(path: Path, *, mode: str = "L", size: tuple[int, int] = (40, 30), value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 255 - value)).save(path)
    return path


def values(name: str, split: Split) -> list[int]:
    return load(name, split).images[:, 0, 0, 0].tolist()


def test_folder_without_classes_tests_on_every_tenth_file(tmp_path: Path) -> None:
    for index in range(20):
        write(tmp_path / f"{index:02}.png", value=index * 10)
    name = f"folder:{tmp_path}"
    check(name)
    assert values(name, "test") == [90, 190]
    assert values(name, "train") == [index * 10 for index in range(20) if index not in (9, 19)]
    train = load(name)
    assert train.images.shape == (18, 1, 28, 28)
    assert train.classes == (tmp_path.name,) and train.labels.unique().tolist() == [0]
    assert train.source == str(tmp_path.resolve()) and train.name == name


def test_folder_classes_match_torchvision_image_folder(tmp_path: Path) -> None:
    for split, count in {"train": 3, "test": 2}.items():
        for kind in ("cat", "dog"):
            for index in range(count):
                value = 40 * index + (20 if kind == "dog" else 0)
                write(tmp_path / split / kind / "deeper" / f"{index}.png", value=value)
    write(tmp_path / "cover.png")  # in neither split
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        theirs = ImageFolder(str(tmp_path / split))
        ours = load(f"folder:{tmp_path}", split)
        assert list(ours.classes) == theirs.classes
        assert ours.labels.tolist() == theirs.targets
        assert ours.images[:, 0, 0, 0].tolist() == [np.asarray(image)[0, 0, 0] for image, _ in theirs]


def test_folder_load_crops_central_square_to_given_size(tmp_path: Path) -> None:
    pixels = np.zeros((32, 96), np.uint8)
    pixels[:, 32:64] = 200
    Image.fromarray(pixels).save(tmp_path / "one.png")
    assert load(f"folder:{tmp_path}@16").images.eq(200).all()
    assert load(f"folder:{tmp_path}@16").images.shape == (1, 1, 16, 16)
    assert load(f"folder:{tmp_path}@64").images.shape == (1, 1, 64, 64)


def test_folder_parse_prefers_existing_folder_to_size(tmp_path: Path) -> None:
    write(tmp_path / "photos@64" / "one.png")
    assert load(f"folder:{tmp_path}/photos@64").images.shape[-1] == 28
    assert load(f"folder:{tmp_path}/photos@64@32").images.shape[-1] == 32


def test_folder_load_converts_all_images_to_rgb_if_one_is_colour(tmp_path: Path) -> None:
    write(tmp_path / "a.png", value=7)
    assert load(f"folder:{tmp_path}").images.shape[1] == 1
    write(tmp_path / "b.png", mode="RGB", value=9)
    images = load(f"folder:{tmp_path}").images
    assert images[:, :, 0, 0].tolist() == [[7, 7, 7], [9, 0, 246]]


def test_folder_load_names_file_that_is_no_image(tmp_path: Path) -> None:
    for index in range(5):
        write(tmp_path / f"{index}.png")
    (tmp_path / "notes.txt").write_text("no image, by its suffix")
    (tmp_path / "._3.png").write_text("left by a file manager")
    assert len(load(f"folder:{tmp_path}")) == 5
    (tmp_path / "3x.png").write_text("no image")
    with pytest.raises(UserError, match=r"3x\.png is not a readable image"):
        load(f"folder:{tmp_path}")


def test_folder_check_refuses_invalid_folders_and_sizes(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    one = write(tmp_path / "one" / "a.png").parent
    for name, problem in {
        f"folder:{tmp_path}/missing": "There is no folder",
        "folder:": "There is no folder",
        f"folder:{empty}": "There is no image in",
        f"folder:{one}@4": "Images of 4x4 pixels",
        f"folder:{one}@99999": "Images of 99999x99999 pixels",
    }.items():
        with pytest.raises(UserError, match=problem):
            check(name)
    with pytest.raises(UserError, match="no image for the test split"):
        load(f"folder:{one}", "test")
