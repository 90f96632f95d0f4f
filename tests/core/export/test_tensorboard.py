"""Tests of the export to TensorBoard, read back by TensorBoard's own reader."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from dipddpm.core import events
from dipddpm.core.export import tensorboard
from dipddpm.core.export.snapshot import Record
from dipddpm.core.runs import Run
from tests.core.export.conftest import HOSTILE


@pytest.fixture
def read(record: Record, tmp_path: Path) -> Any:
    tensorboard.write(record, tmp_path / "logs")
    return accumulated(tmp_path / "logs")


def accumulated(folder: Path) -> Any:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def points(read: Any, tag: str) -> list[tuple[int, float]]:
    return [(point.step, round(point.value, 6)) for point in read.Scalars(tag)]


def test_tensorboard_scalars_match_history_with_times(read: Any) -> None:
    assert points(read, "loss/step") == [(10, 0.5), (15, 0.3)]
    assert [point.wall_time for point in read.Scalars("loss/step")] == [101.0, 111.0]
    assert points(read, "loss/epoch") == [(10, 0.5), (20, 0.25)]
    assert points(read, "loss/held_out") == [(10, 0.625), (20, 0.375)]
    assert points(read, "loss_by_t/1") == [(10, 0.01), (20, 0.01)]
    assert points(read, "psnr/image_0") == [(20, 20.0), (30, math.inf), (40, 23.0)]
    assert points(read, "stop/peak") == [(40, 24.25)]
    assert points(read, "scores/denoise_sigma_25/fashion-mini/calibrated/psnr") == [(40, 25.5)]


def test_tensorboard_pictures_are_files_of_run(read: Any, run: Run) -> None:
    assert set(read.Tags()["images"]) == {"images/samples", "images/restored"}
    (picture,) = read.Images("images/restored")
    assert (picture.width, picture.height, picture.step, picture.wall_time) == (56, 28, 30, 130.0)
    assert picture.encoded_image_string == (run.folder / "images/restored.png").read_bytes()


def test_tensorboard_holds_config_as_hyperparameters_and_text(read: Any, record: Record) -> None:
    content = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    session = HParamsPluginData.FromString(content).session_start_info
    assert session.hparams["dip.iterations"].number_value == record.options()["dip.iterations"]
    assert session.hparams["data.dataset"].string_value == "fashion-mini"
    assert session.group_name == record.run.id
    (text,) = read.Tensors("config/text_summary")
    (content,) = text.tensor_proto.string_val
    assert b'    dataset = "fashion-mini"' in content


def test_tensorboard_shows_messages_as_code(read: Any) -> None:
    (text,) = read.Tensors("messages/text_summary")
    (content,) = text.tensor_proto.string_val
    assert content.startswith(b"    <script>")
    assert b"\x1b" not in content
    assert HOSTILE.encode() not in content


def test_tensorboard_writes_run_without_events(run: Run, tmp_path: Path) -> None:
    (run.folder / "events.jsonl").unlink()
    tensorboard.write(Record.of(run), tmp_path / "logs")
    assert accumulated(tmp_path / "logs").Tags()["scalars"] == []


def test_tensorboard_writes_mean_psnr_of_many_images(record: Record, tmp_path: Path) -> None:
    record.history[:] = [events.PsnrMeasured(step=1, psnr=[20.0] * 33, mean=20.0)]
    tensorboard.write(record, tmp_path / "logs")
    assert accumulated(tmp_path / "logs").Tags()["scalars"] == ["psnr/mean"]
