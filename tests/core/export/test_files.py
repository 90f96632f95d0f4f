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
def folder(tmp_path: Path) -> Path:
    (tmp_path / "export").mkdir()
    return tmp_path / "export"


def test_write_files_writes_tables_history_config_and_pictures(record: Record, folder: Path) -> None:
    write_files(record, folder)
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    tables = {"epochs.csv", "steps.csv", "psnr.csv", "stops.csv", "scores.csv"}
    assert written == tables | {"run.json", "config.toml", "images/samples-10.png", "images/restored.png"}


def test_write_files_json_holds_nan_as_string(record: Record, folder: Path) -> None:
    write_files(record, folder)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} isn't valid JSON")

    document = json.loads((folder / "run.json").read_text(), parse_constant=refuse)
    assert document["state"] == "finished"
    assert document["config"]["name"] == HOSTILE
    measured = next(event for event in document["events"] if event["event"] == "psnr_measured")
    assert measured["loss"] == [0.2, "nan"]


def test_write_files_of_queued_run_writes_history_and_config(runs: RunsFolder, folder: Path) -> None:
    write_files(Record.of(runs.create(config.build("ddpm"))), folder)
    assert {path.name for path in folder.iterdir()} == {"run.json", "config.toml"}
