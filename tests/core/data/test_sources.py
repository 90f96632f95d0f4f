from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dipddpm.core import data
from dipddpm.core.config import DataConfig, ImagesConfig
from dipddpm.core.data.sources import data_loaded, file_messages, load_batch, load_images, load_training
from dipddpm.core.errors import UserError
from dipddpm.core.images import save_png

MINI = DataConfig(dataset="fashion-mini")


def test_load_images_selects_indices_in_order_and_labels_them() -> None:
    images, labels, loaded = load_images(ImagesConfig(indices="7,2-3", split="train"), MINI)
    expected = data.load("fashion-mini", "train").images[[7, 2, 3]].float() / 255
    assert torch.equal(torch.stack(images), expected)
    assert labels == ["train 7", "train 2", "train 3"]
    assert (loaded.dataset, loaded.split, loaded.images) == ("fashion-mini", "train", 3)


def test_load_images_accepts_files_of_several_sizes_and_load_batch_refuses_them(tmp_path: Path) -> None:
    sizes = [(5, 7), (6, 4)]
    for number, size in enumerate(sizes):
        save_png(tmp_path / f"{number}.png", torch.full((1, *size), 0.2))
    config = ImagesConfig(files=tuple(str(tmp_path / f"{number}.png") for number in range(2)))
    images, labels, loaded = load_images(config, MINI)
    assert [tuple(image.shape) for image in images] == [(1, *size) for size in sizes]
    assert labels == ["file 0", "file 1"]
    assert (loaded.dataset, loaded.source) == ("files", "0.png, 1.png")
    with pytest.raises(UserError, match="differ in size"):
        load_batch(config, MINI)


def test_load_batch_stacks_images_of_load_images() -> None:
    config = ImagesConfig(indices="0-4")
    batch, labels, loaded = load_batch(config, MINI)
    assert torch.equal(batch, torch.stack(load_images(config, MINI)[0]))
    assert len(labels) == loaded.images == 5


def test_load_training_holds_out_end_of_whole_split() -> None:
    whole = data.load("fashion-mini", "train")
    train, validation = load_training(DataConfig(dataset="fashion-mini", train_images=10), held_out=True)
    assert validation is not None
    assert torch.equal(train.images, whole.images[:10])
    assert torch.equal(validation.images, whole.images[-len(validation) :])
    assert load_training(MINI, held_out=False)[1] is None
    assert data_loaded(train).sha256 == train.sha256


def test_load_batch_gives_files_the_channels_of_the_prior(tmp_path: Path) -> None:
    grey = torch.rand(1, 4, 4)
    save_png(tmp_path / "grey.png", grey)
    save_png(tmp_path / "stored.png", grey.expand(3, -1, -1))
    save_png(tmp_path / "colour.png", torch.rand(3, 4, 4))

    def loaded(*names: str, channels: int | None = None, **options: Any) -> tuple[int, ...]:
        config = ImagesConfig(files=tuple(str(tmp_path / f"{name}.png") for name in names), **options)
        return tuple(load_batch(config, MINI, channels)[0].shape)

    assert loaded("grey", "stored", channels=1) == (2, 1, 4, 4)
    assert loaded("grey", "stored", "colour", channels=3) == (3, 3, 4, 4)
    assert loaded("grey", "colour") == (2, 3, 4, 4)
    assert loaded("grey") == (1, 1, 4, 4)
    assert loaded("colour", channels=1) == (1, 3, 4, 4)
    assert loaded("grey", "colour", channels=1, grey=True) == (2, 1, 4, 4)


def test_file_messages_warn_of_files_and_say_what_becomes_grey(tmp_path: Path) -> None:
    dark = torch.linspace(0, 4095, 16).round().view(4, 4).numpy().astype("uint16")
    Image.fromarray(dark).save(tmp_path / "dark.png")
    save_png(tmp_path / "stored.png", torch.rand(1, 4, 4).expand(3, -1, -1))
    files = (str(tmp_path / "dark.png"), str(tmp_path / "stored.png"))
    warning, converted = file_messages(ImagesConfig(files=files), 1)
    assert warning.level == "warning" and "4,095 of 65,535" in warning.text
    assert converted.level == "info" and "restored as grey" in converted.text
    assert list(file_messages(ImagesConfig(files=files, white=4095), 3)) == []
    (image,), _, _ = load_images(ImagesConfig(files=files[:1], white=4095), MINI)
    torch.testing.assert_close(image[0], torch.from_numpy(dark / 4095).float())
