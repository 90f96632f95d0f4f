from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import msgspec
import pytest

from dipddpm.core import config, events
from dipddpm.core.errors import UserError
from dipddpm.core.export.snapshot import Record
from dipddpm.core.export.tables import tables, write_csv, write_jsonl
from dipddpm.core.runs import RunsFolder
from tests.helpers import append_events


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> list[dict[str, object]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} isn't valid JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_write_csv_holds_logical_history(record: Record, tmp_path: Path) -> None:
    write_csv(record, tmp_path)
    assert {path.stem for path in tmp_path.glob("*.csv")} == {"epochs", "steps", "psnr", "stops", "scores"}
    epochs = rows(tmp_path / "epochs.csv")
    assert [(row["epoch"], row["loss"], row["held_out"]) for row in epochs] == [
        ("1", "0.5", "0.625"),
        ("2", "0.25", "0.375"),
    ]
    assert [(row["step"], row["loss"]) for row in rows(tmp_path / "steps.csv")] == [("10", "0.5"), ("15", "0.3")]
    psnr = rows(tmp_path / "psnr.csv")
    assert [(row["step"], row["image"], float(row["psnr"])) for row in psnr][1:4] == [
        ("20", "1", 22.5),
        ("30", "0", math.inf),
        ("30", "1", 24.5),
    ]
    assert {row["run"] for row in psnr} == {record.run.id}
    assert next(iter(psnr[0])) == "run"
    scores = rows(tmp_path / "scores.csv")
    assert [(row["method"], row["budget_of"], row["image"], row["ssim"]) for row in scores[2:4]] == [
        ("dip-mean", "calibrated", "0", "0.5"),
        ("dip-mean", "calibrated", "1", "0.75"),
    ]


def test_write_jsonl_has_same_keys_and_types_in_every_line(record: Record, tmp_path: Path) -> None:
    write_csv(record, tmp_path)
    write_jsonl(record, tmp_path)
    for path in tmp_path.glob("*.jsonl"):
        objects = lines(path)
        assert [list(row) for row in objects] == [list(objects[0])] * len(objects)
        for key in objects[0]:
            assert len({type(row[key]) for row in objects if row[key] is not None}) <= 1, f"{path.name} {key}"
        table = rows(path.with_suffix(".csv"))
        assert list(table[0]) == list(objects[0])
        assert len(table) == len(objects)
    psnr = lines(tmp_path / "psnr.jsonl")
    assert [row["psnr"] for row in psnr] == [20.0, 22.5, None, 24.5, 23.0, 24.0]
    assert {row["loss"] for row in psnr} == {0.2, None}


def test_write_jsonl_writes_one_line_for_text_with_line_separators(record: Record, tmp_path: Path) -> None:
    protocol = "one\x85two\u2028three\nfour"
    record.history.append(events.SamplesEvaluated(step=1, measure="m", value=1, samples=1, protocol=protocol))
    write_jsonl(record, tmp_path)
    (line,) = (tmp_path / "samples.jsonl").read_bytes().splitlines()
    assert json.loads(line)["protocol"] == protocol


def test_write_csv_quotes_formulas_as_text(record: Record, tmp_path: Path) -> None:
    last = record.last(events.RestorationScored)
    assert last is not None
    record.history.append(msgspec.structs.replace(last, method="=HYPERLINK(1)"))
    write_csv(record, tmp_path)
    assert "'=HYPERLINK(1)" in {row["method"] for row in rows(tmp_path / "scores.csv")}


def test_scores_name_images_of_a_later_slice(runs: RunsFolder) -> None:
    run = runs.create(config.build("restore"))
    append_events(run, events.RestorationScored(task="denoise", method="dip", psnr=[20.0, 21.0], first=12))
    assert [row["image"] for row in tables(Record.of(run))["scores"]] == [12, 13]


def test_tables_refuse_run_without_numbers(runs: RunsFolder) -> None:
    with pytest.raises(UserError, match="no numbers yet"):
        tables(Record.of(runs.create(config.build("ddpm"))))


def test_tables_have_no_nan(runs: RunsFolder, tmp_path: Path) -> None:
    """NaN is an empty cell and null; an exact image is inf in CSV, which pandas reads as a number, and null in JSON."""
    run = runs.create(config.build("dip"))
    append_events(
        run,
        events.EpochFinished(epoch=1, step=1, loss=math.nan),
        events.PsnrMeasured(step=1, psnr=[math.nan, math.inf], mean=math.nan),
        events.RunFinished(seconds=1),
    )
    record = Record.of(run)
    write_csv(record, tmp_path)
    write_jsonl(record, tmp_path)
    assert "nan" not in (tmp_path / "epochs.csv").read_text() + (tmp_path / "psnr.csv").read_text()
    assert [row["psnr"] for row in rows(tmp_path / "psnr.csv")] == ["", "inf"]
    assert [row["psnr"] for row in lines(tmp_path / "psnr.jsonl")] == [None, None]
    assert rows(tmp_path / "epochs.csv")[0]["loss"] == ""


def test_spread_has_a_row_for_each_image(record: Record) -> None:
    record.history.append(
        events.SpreadMeasured(step=4, method="m", spread=[3.0, 4.0], error=[6.0, 8.0], samples=2, wide=[0.25, 0.5])
    )
    (first, second) = tables(record)["spread"]
    assert (first["image"], first["spread"], first["error"], first["half"], first["wide"]) == (0, 3.0, 6.0, None, 0.25)
    assert (second["image"], second["spread"], second["samples"]) == (1, 4.0, 2)
