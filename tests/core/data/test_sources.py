from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dipddpm.core import data
from dipddpm.core.config import DataConfig, ImagesConfig
from dipddpm.core.data.sources import data_loaded, load_batch, load_images, load_training
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
