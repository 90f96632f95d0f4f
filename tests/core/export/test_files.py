from __future__ import annotations

import json
from pathlib import Path

import pytest

from dipddpm.core import config
from dipddpm.core.export.snapshot import Record
from dipddpm.core.export.tables import write_files
from dipddpm.core.runs import RunsFolder
from tests.core.export.conftest import HOSTILE


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def test_write_files_holds_files_of_run(record: Record, place: Path) -> None:
    write_files(record, place)
    held = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    tables = {"epochs.csv", "steps.csv", "psnr.csv", "stops.csv", "scores.csv"}
    assert held == tables | {"run.json", "config.toml", "images/samples-10.png", "images/restored.png"}


def test_write_files_json_names_nan_in_words(record: Record, place: Path) -> None:
    write_files(record, place)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    told = json.loads((place / "run.json").read_text(), parse_constant=refuse)
    assert told["state"] == "finished"
    assert told["config"]["name"] == HOSTILE
    measured = next(event for event in told["events"] if event["event"] == "psnr_measured")
    assert measured["loss"] == [0.2, "nan"]


def test_write_files_of_queued_run_holds_config(runs: RunsFolder, place: Path) -> None:
    write_files(Record.of(runs.create(config.build("ddpm"))), place)
    assert {path.name for path in place.iterdir()} == {"run.json", "config.toml"}
