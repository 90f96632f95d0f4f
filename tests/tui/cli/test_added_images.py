"""`dipddpm restore --add-images`: which run it takes, and which options it refuses."""

from __future__ import annotations

import tomllib

import pytest

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.core.runs import Run
from dipddpm.tui.cli.main import app
from tests.tui.driving import Maker


def call(make: Maker, *options: str) -> None:
    app(["restore", *options, "--dry-run", "--runs-dir", str(make.root)], standalone_mode=False)


@pytest.fixture
def board(make: Maker) -> Run:
    return make("restore", name="twelve", losses=[], settings={"restore.images": 12, "dip.lr": 0.01})


def test_added_images_take_options_of_newest_head_to_head(
    make: Maker, board: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    make(name="no head-to-head")
    call(make, "--add-images", "12-23", "--device", "cpu")
    config = configs.from_builtins(tomllib.loads(capsys.readouterr().out))
    assert isinstance(config, configs.RestoreRun)
    assert (config.restore.first, config.restore.images) == (12, 12)
    assert (config.restore.earlier, config.dip.lr, config.device) == (str(board.folder), 0.01, "cpu")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--add-images", "12-23", "--seed", "3"], "given: seed"),
        (
            ["--add-images", "12-23", "--task", "denoise:sigma=25", "--preset", "quick"],
            r"given: restore\.tasks, preset",
        ),
        (["--add-images", "6-17"], "end with 11, so those to add begin with 12"),
        (["--add-images", "many"], "no range of images"),
        (["--to", "twelve"], "no images are named"),
    ],
)
def test_added_images_refuse_other_options(make: Maker, board: Run, options: list[str], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        call(make, *options)


def test_added_images_need_head_to_head(make: Maker) -> None:
    make(name="no head-to-head")
    with pytest.raises(UserError, match="There is no finished head-to-head"):
        call(make, "--add-images", "12-23")
