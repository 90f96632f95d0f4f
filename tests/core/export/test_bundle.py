from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from core import config, events
from core.errors import UserError
from core.export import bundle, scp_line
from core.runs import EventLog, Run, RunsFolder


@pytest.fixture
def run(runs: RunsFolder) -> Run:
    run = runs.create(config.build("hybrid", settings={"name": "=1+1"}))
    log = EventLog(run.folder)
    log.append(events.RunStarted(kind="hybrid", method="substitution", device="cpu", epochs=2, steps=20))
    for epoch in (1, 2):
        log.append(events.Step(step=epoch * 10, epoch=epoch, loss=0.5 / epoch))
        log.append(events.EpochFinished(epoch=epoch, step=epoch * 10, loss=0.5 / epoch, held_out=0.6 / epoch))
    log.append(events.PsnrMeasured(step=20, psnr=[20.0, 22.5], mean=21.25, loss=[float("nan"), 0.1]))
    log.append(events.RunFinished(seconds=3.0, step=20))
    log.close()
    (run.folder / "images/restored.png").write_bytes(b"png")
    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_hold_what_the_log_told(run: Run, tmp_path: Path) -> None:
    done = bundle(run, tmp_path / "out")
    assert set(done.files) == {
        "epochs.csv",
        "steps.csv",
        "psnr.csv",
        "run.json",
        "config.toml",
        "images/restored.png",
    }
    assert [(row["epoch"], row["loss"], row["held_out"]) for row in rows(done.folder / "epochs.csv")] == [
        ("1", "0.5", "0.6"),
        ("2", "0.25", "0.3"),
    ]
    (look,) = rows(done.folder / "psnr.csv")
    assert (look["mean"], look["image_0"], look["image_1"]) == ("21.25", "20.0", "22.5")


def test_the_json_is_json_with_nan_by_name(run: Run, tmp_path: Path) -> None:
    done = bundle(run, tmp_path / "out")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    record = json.loads((done.folder / "run.json").read_text(), parse_constant=refuse)
    assert record["state"] == "finished"
    assert record["config"]["name"] == "=1+1"
    measured = next(event for event in record["events"] if event["event"] == "psnr_measured")
    assert measured["loss"] == ["nan", 0.1]


def test_a_folder_that_cannot_be_written_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="can't be written"):
        bundle(run, tmp_path / "file" / "out")


def test_the_scp_line_quotes_what_a_shell_would_split(tmp_path: Path) -> None:
    line = scp_line(tmp_path / "my runs")
    assert line.startswith("scp -r '")
    assert line.endswith("my runs' .")
