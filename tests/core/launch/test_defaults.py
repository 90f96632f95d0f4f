from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.core.launch import preflight
from dipddpm.core.launch.defaults import limit_images


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """Return a folder of 12 training and 4 test images."""
    for part, count in (("train", 12), ("test", 4)):
        (tmp_path / part).mkdir()
        for index in range(count):
            Image.new("L", (28, 28), 20 * index).save(tmp_path / part / f"{index}.png")
    return f"folder:{tmp_path}"


def indices(kind: str, preset: str | None = None, **given: Any) -> str:
    settings = {key.replace("__", "."): value for key, value in given.items()}
    config = limit_images(configs.build(kind, preset=preset, settings=settings), settings)
    return str(configs.flatten(config)["study.images" if kind == "study" else "images.indices"])


@pytest.mark.parametrize("kind", ["dip", "hybrid", "study"])
def test_default_takes_fewer_images_where_there_are_fewer(kind: str, dataset: str) -> None:
    assert indices(kind, data__dataset=dataset) == "0-3"
    assert indices(kind, data__dataset="fashion-mini") == "0-9"


def test_only_the_default_changes(dataset: str, tmp_path: Path) -> None:
    assert indices("dip", data__dataset=dataset, images__split="train") == "0-9"
    assert indices("dip", data__dataset=dataset, images__indices="0-9") == "0-9"
    assert indices("study", data__dataset=dataset, study__images="0-9") == "0-9"
    assert indices("dip", data__dataset=dataset, images__files=("a.png",)) == "0-9"
    assert indices("dip", data__dataset=f"folder:{tmp_path}/missing") == "0-9"
    (tmp_path / "test/3.png").unlink()
    assert indices("dip", "quick", data__dataset=dataset) == "0-2", "a preset is no more than a default"


def test_default_passes_the_checks_that_refuse_the_same_range_of_the_user(dataset: str) -> None:
    config = configs.build("dip", settings={"data.dataset": dataset})
    preflight.refuse(limit_images(config, ()), elsewhere=True)
    with pytest.raises(UserError, match="no image 9 among the 4 test images"):
        preflight.refuse(limit_images(config, {"images.indices"}), elsewhere=True)
