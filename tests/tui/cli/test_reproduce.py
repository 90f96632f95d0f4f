"""`dipddpm reproduce`: the study that its options request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dipddpm.core import config as configs
from dipddpm.core.config import StudyRun
from dipddpm.core.errors import UserError
from dipddpm.tui.cli.run import reproduce


def requested_study(tmp_path: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> StudyRun:
    """Return the config of a dry run."""
    assert reproduce(dry_run=True, **options) == 0
    file = tmp_path / "config.toml"
    file.write_text(capsys.readouterr().out)
    config = configs.load(file)
    assert isinstance(config, StudyRun)
    return config


def test_reproduce_defaults_to_published_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = requested_study(tmp_path, capsys)
    assert config == StudyRun()
    assert (config.method, config.study.epochs, config.data.dataset) == ("published", 20, "fashionmnist")


def test_reproduce_full_adds_long_run_to_published_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = requested_study(tmp_path, capsys, full=True, device="cpu", seed=3, name="mine")
    assert config.study.full
    assert (config.method, config.device, config.seed, config.name) == ("published", "cpu", 3, "mine")


def test_reproduce_quick_is_shortened_and_takes_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = requested_study(tmp_path, capsys, quick=True, settings=["study.epochs=1"], data_dir=tmp_path)
    assert (config.method, config.study.epochs) == ("shortened", 1)
    assert (config.data.dataset, config.data.directory) == ("fashion-mini", str(tmp_path))


def test_reproduce_refuses_quick_with_full() -> None:
    with pytest.raises(UserError, match="--quick and --full exclude each other"):
        reproduce(quick=True, full=True)


def test_reproduce_with_fewer_images_is_shortened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert requested_study(tmp_path, capsys, settings=["data.train_images=100"]).method == "shortened"
