from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from dipddpm.core.config import DataConfig
from dipddpm.core.data import Split, check, folder, hold_out, load
from dipddpm.core.data.folder import count_copies, refuse_damaged, stored_channels
from dipddpm.core.data.sources import data_loaded, load_split, load_training, opening_events
from dipddpm.core.errors import UserError
from dipddpm.core.events import Message
from dipddpm.core.images import load_image
from dipddpm.core.io import pictures


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
        "folder:": "There is no folder without a name",
        "folder:https://example.org/a@9": "There is no folder https://example.org/a",
        f"folder:{empty}": "There is no image in",
        f"folder:{one}@4": "Images of 4x4 pixels",
        f"folder:{one}@99999": "Images of 99999x99999 pixels",
    }.items():
        with pytest.raises(UserError, match=problem):
            check(name)
    with pytest.raises(UserError, match="no image for the test split"):
        load(f"folder:{one}", "test")


def noise(path: Path, seed: int, *, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (28, 28, 3) if mode == "RGB" else (28, 28)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, np.uint8)).save(path)
    return path


def test_folder_ignores_thumbnails_of_notebooks_and_drives(tmp_path: Path) -> None:
    for index in range(20):
        for kind in "ab":
            write(tmp_path / kind / f"{index:02}.png", value=index)
    for index in range(3):
        write(tmp_path / ".ipynb_checkpoints" / f"{index:02}-checkpoint.png")
        write(tmp_path / "a" / "@eaDir" / f"{index:02}.png" / "SYNOFILE_THUMB_M.jpg")
    train = load(f"folder:{tmp_path}")
    assert len(train) == 36 and train.classes == ("a", "b")
    assert train.notes == ("left out: 2 hidden",)
    assert data_loaded(train).notes == ["left out: 2 hidden"]


def test_folder_reads_class_folders_that_are_links(tmp_path: Path) -> None:
    for index in range(10):
        write(tmp_path / "store" / "cats" / f"{index}.png", value=index)
        write(tmp_path / "pets" / "birds" / f"{index}.png", value=100 + index)
    (tmp_path / "pets" / "cats").symlink_to(tmp_path / "store" / "cats")
    train = load(f"folder:{tmp_path / 'pets'}")
    assert train.classes == ("birds", "cats")
    assert values(f"folder:{tmp_path / 'pets'}", "test") == [109, 9]


@pytest.mark.parametrize(
    ("folders", "train", "test", "validation"),
    [
        (("train", "test"), "train", "test", None),
        (("train", "val"), "train", "val", None),
        (("training", "validation"), "training", "validation", None),
        (("Train", "Valid"), "Train", "Valid", None),
        (("train", "val", "test"), "train", "test", "val"),
        (("TRAINING", "testing", "valid"), "TRAINING", "testing", "valid"),
    ],
)
def test_folder_takes_splits_as_people_name_them(
    tmp_path: Path, folders: tuple[str, ...], train: str, test: str, validation: str | None
) -> None:
    for number, name in enumerate(folders):
        for index in range(10):
            write(tmp_path / name / "ab"[index % 2] / f"{index}.png", value=number * 50 + index)
    name = f"folder:{tmp_path}"

    def expected(split: str) -> list[int]:
        return [folders.index(split) * 50 + index for index in (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)]

    assert values(name, "train") == expected(train)
    assert values(name, "test") == expected(test)
    assert load(name).classes == ("a", "b")
    fit, held_out = load_training(DataConfig(dataset=name), held_out=True)
    assert held_out is not None and held_out.split == "validation"
    if validation:
        assert held_out.images[:, 0, 0, 0].tolist() == expected(validation)
        assert len(fit) == 10
    else:
        assert len(fit) + len(held_out) == 10
    assert (f"{test} is the test split" in load(name, "test").notes) == test.lower().startswith("val")


def test_folder_keeps_class_that_is_called_train(tmp_path: Path) -> None:
    for kind in ("boat", "car", "train"):
        for index in range(10):
            write(tmp_path / kind / f"{index}.png")
    assert load(f"folder:{tmp_path}").classes == ("boat", "car", "train")


def test_folder_with_only_train_tests_on_every_tenth_file_of_its_classes(tmp_path: Path) -> None:
    for index in range(20):
        write(tmp_path / "train" / "ab"[index % 2] / f"{index:02}.png", value=index)
    name = f"folder:{tmp_path}"
    assert load(name).classes == ("a", "b")
    assert values(name, "test") == [18, 19]


def test_folder_with_only_test_can_be_restored_but_not_trained_on(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / "test" / f"{index}.png", value=index)
    assert values(f"folder:{tmp_path}", "test") == [0, 1, 2]
    with pytest.raises(UserError, match=r"no image for the train split.*Beside test, add a folder train"):
        load(f"folder:{tmp_path}")


def test_folder_refuses_to_mix_splits_of_its_subfolders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / "unpacked" / split / "1.png")
    with pytest.raises(UserError, match=r"but unpacked in it has\. Give that folder: folder:.*unpacked"):
        check(f"folder:{tmp_path}")
    check(f"folder:{tmp_path / 'unpacked'}")
    write(tmp_path / "other" / "1.png")
    check(f"folder:{tmp_path}")


def test_folder_names_empty_folder_of_a_split(tmp_path: Path) -> None:
    write(tmp_path / "train" / "1.png")
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match=r"no image for the test split.*Add images to .*test, or remove"):
        load(f"folder:{tmp_path}", "test")


def test_folder_refuses_two_folders_of_one_split(tmp_path: Path) -> None:
    for name in ("Train", "train", "test"):
        write(tmp_path / name / "1.png")
    with pytest.raises(UserError, match="more than one folder of train images: Train, train"):
        check(f"folder:{tmp_path}")


def test_folder_notes_name_missing_classes_and_images_outside(tmp_path: Path) -> None:
    for index in range(3):
        for kind in "ab":
            write(tmp_path / "train" / kind / f"{index}.png")
        write(tmp_path / "test" / "a" / f"{index}.png")
        write(tmp_path / "annotations" / f"{index}.png")
    write(tmp_path / "cover.png")
    (tmp_path / "train" / "c").mkdir()
    name = f"folder:{tmp_path}"
    assert load(name).notes == ("no image in the subfolder c", "left out: 4 outside test, train")
    assert load(name, "test").notes == ("no test image of the class b", "left out: 4 outside test, train")
    assert load(name).classes == load(name, "test").classes == ("a", "b")


def test_folder_notes_name_class_of_files_in_no_subfolder(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png")
    write(tmp_path / "2.png")
    assert load(f"folder:{tmp_path}").notes == (f"1 in no subfolder: class {tmp_path.name}",)


def test_folder_warns_of_test_images_that_are_trained_on(tmp_path: Path) -> None:
    for index in range(6):
        noise(tmp_path / "train" / f"{index}.png", index)
        noise(tmp_path / "test" / f"{index}.png", index + 3)
    name = f"folder:{tmp_path}"
    warning = f"3 of the 6 test images of {name} are training images too."
    assert load(name).warnings == (warning,)
    assert list(opening_events([load(name)]))[1] == Message(text=warning, level="warning")
    assert load(name, "test").warnings == ()


def test_count_copies_reads_files_to_their_end(tmp_path: Path) -> None:
    content = bytes(10_000)
    for name, end in {"a": b"1", "b": b"2", "c": b"3"}.items():
        (tmp_path / name).write_bytes(content + end)
    (tmp_path / "copy").write_bytes(content + b"2")
    files = [tmp_path / name for name in "abc"]
    assert count_copies([tmp_path / "copy"], files) == 1
    assert count_copies(files, [tmp_path / "copy", tmp_path / "missing"]) == 1
    assert count_copies(files, []) == 0


@pytest.mark.parametrize("colour", [0, 9])  # a training image, and the only test image
def test_folder_channels_are_those_of_the_whole_folder(tmp_path: Path, colour: int) -> None:
    for index in range(10):
        noise(tmp_path / f"{index}.png", index, mode="RGB" if index == colour else "L")
    note = f"grey and RGB files together, all read as RGB (the first one in RGB is {colour}.png)"
    train, test = load(f"folder:{tmp_path}"), load(f"folder:{tmp_path}", "test")
    assert train.images.shape == (9, 3, 28, 28) and test.images.shape == (1, 3, 28, 28)
    assert train.notes == (note,)
    assert test.notes == ((note,) if colour == 0 else ())


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [(mode, "png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    + [(mode, "tif") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "F")]
    + [("CMYK", "jpg"), ("L", "jpg"), ("RGB", "jpg"), ("P", "gif"), ("L", "bmp"), ("1", "ppm"), ("RGB", "webp")],
)
def test_stored_channels_are_those_of_load_image(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.new(mode, (3, 2)).save(path)
    assert stored_channels(path) == load_image(path).shape[1]


def test_folder_counts_files_that_cannot_be_read(tmp_path: Path) -> None:
    for index in range(9):
        noise(tmp_path / f"{index}.png", index)
    for index, content in {2: b"", 5: (tmp_path / "5.png").read_bytes()[:200]}.items():
        (tmp_path / f"{index}.png").write_bytes(content)
    with pytest.raises(UserError, match=r"2\.png.* 1 more of 9 files can't be read: .*5\.png\."):
        load(f"folder:{tmp_path}")


def test_damaged_files_are_found_before_they_are_all_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(9):
        noise(tmp_path / f"{index}.png", index)
    files = sorted(tmp_path.iterdir())
    decoded, decode = [], pictures.decode

    def record(path: Path, white: float, *, option: str) -> pictures.Picture:
        decoded.append(path)
        return decode(path, white, option=option)

    monkeypatch.setattr(pictures, "decode", record)
    refuse_damaged(files)
    assert not decoded
    for index in (2, 5, 7):
        files[index].write_bytes(files[index].read_bytes()[:-200])
    files[7].write_bytes(noise(tmp_path / "x.png", 3).read_bytes() + bytes(100))  # bytes after a picture do no harm
    with pytest.raises(UserError, match=r"2\.png is damaged.* 1 more of 9 files can't be read: .*5\.png\."):
        refuse_damaged(files)
    assert decoded == [files[index] for index in (2, 5, 7)]


def test_folder_notes_pictures_that_are_too_dark_for_their_depth(tmp_path: Path) -> None:
    for index in range(3):
        pixels = np.full((30, 30), 4000 if index else 60_000, np.uint16)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    (note,) = load(f"folder:{tmp_path}").notes
    assert note.startswith("2 doubtful: ") and "1.png is very dark" in note
    assert note.endswith("If its white has 12 bits, add --set data.white=4095")
    with pytest.raises(UserError, match=r"--set data\.white=VALUE"):
        load(f"folder:{tmp_path}", white=4095)


def test_folder_takes_white_and_grey_from_options(tmp_path: Path) -> None:
    levels = np.linspace(0, 4095, 12).astype(np.uint16)
    for index, level in enumerate(levels):
        Image.fromarray(np.full((30, 30), level)).save(tmp_path / f"{index:02}.png")
    options = DataConfig(dataset=f"folder:{tmp_path}", white=4095)
    train, validation = load_training(options, held_out=True)
    assert validation is not None
    seen = sorted([*train.images[:, 0, 0, 0].tolist(), *validation.images[:, 0, 0, 0].tolist()])
    expected = [round(int(level) / 4095 * 255) for index, level in enumerate(levels) if index != 9]
    assert seen == expected and not train.notes

    write(tmp_path / "12.png", mode="RGB", value=90)
    assert load_split(options, "train").images.shape[1] == 3
    grey = load_split(DataConfig(dataset=options.dataset, white=4095, grey=True), "train")
    assert grey.images.shape[1] == 1 and not grey.notes
    assert grey.images[-1].unique().tolist() == [round(0.299 * 90 + 0.114 * (255 - 90))]
    assert folder.parse(options.dataset, grey=True).channels == 1


def test_hold_out_of_folder_takes_images_of_all_classes(tmp_path: Path) -> None:
    for index in range(60):
        write(tmp_path / "train" / "abc"[index // 20] / f"{index}.png", value=index)
        write(tmp_path / "test" / "a" / f"{index}.png", value=index)
    fit, validation = hold_out(load(f"folder:{tmp_path}"))
    assert validation.labels.bincount().tolist() == [2, 2, 2]
    assert fit.labels.bincount().tolist() == [18, 18, 18]
    together = torch.cat([fit.images, validation.images])[:, 0, 0, 0]
    assert sorted(together.tolist()) == list(range(60))


def test_folder_parse_names_file_and_empty_folder(tmp_path: Path) -> None:
    image = write(tmp_path / "one.png")
    with pytest.raises(UserError, match=r"one\.png is a file, not a folder.*--image"):
        check(f"folder:{image}")
    (tmp_path / "other" / "a.heic").parent.mkdir()
    (tmp_path / "other" / "a.heic").write_bytes(b"")
    with pytest.raises(UserError, match=r"no image in .*other, only 1 \.heic\."):
        check(f"folder:{tmp_path / 'other'}")


@pytest.mark.parametrize("name", ["masks/{}.png", "x/{}_mask.png", "Labels/{}.png", "x/{}-gt.png"])
def test_folder_notes_files_named_like_masks(tmp_path: Path, name: str) -> None:
    for index in range(4):
        write(tmp_path / "images" / f"{index}.png")
        write(tmp_path / name.format(index))
    assert "4 named like masks or labels" in "; ".join(load(f"folder:{tmp_path}").notes)


def test_folder_of_masks_alone_is_as_meant(tmp_path: Path) -> None:
    for index in range(4):
        write(tmp_path / "masks" / f"{index}.png")
    assert not load(f"folder:{tmp_path}").notes
